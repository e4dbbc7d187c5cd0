//! Reads the bytes of blobs, part by part.

use super::{
    Store, StoreError,
    content::{Content, Kept, Place},
    facts::{Body, Piece},
    tables::read_row,
};
use bytes::Bytes;
use rusqlite::Connection;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// The folder of long contents and a connection for short ones. The connection is not the writer's, so that
/// readers never wait for the disk.
#[derive(Debug)]
pub struct Contents {
    files: PathBuf,
    reader: Mutex<Connection>,
}

impl Contents {
    /// Creates it with its own connection.
    pub fn new(files: PathBuf, reader: Connection) -> Self {
        Self { files, reader: Mutex::new(reader) }
    }

    /// Returns the path of the file with a number.
    pub fn path(&self, id: i64) -> PathBuf {
        self.files.join(id.to_string())
    }

    fn row(&self, kept: &Kept) -> Result<Bytes, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        read_row(&reader, kept.id())
            .map_err(|error| StoreError::new("read content", kept.id().to_string(), &error))
    }
}

/// A part of a body that is being read. It keeps the body until its end, even if the blob is deleted.
#[derive(Debug)]
pub struct Reading {
    body: Arc<Body>,
    contents: Option<Arc<Contents>>,
    /// Index of the next piece.
    piece: usize,
    /// Position in that piece.
    offset: u64,
    /// Number of bytes left to read.
    left: u64,
    /// File of the piece, once it is open.
    file: Option<File>,
}

impl Store {
    /// Returns a reader for `length` bytes from `from` on; the range must be inside the body.
    pub fn read(&self, body: &Arc<Body>, from: u64, length: u64) -> Reading {
        let contents = self.disk.as_ref().map(|disk| disk.contents.clone());
        let (mut piece, mut offset) = (0, from);
        while body.pieces.get(piece).is_some_and(|found| found.length <= offset) {
            offset -= body.pieces[piece].length;
            piece += 1;
        }
        Reading { body: body.clone(), contents, piece, offset, left: length, file: None }
    }
}

impl Reading {
    /// Returns the number of bytes left to read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Returns whether the next bytes are in a file, so that reading may wait for the disk.
    pub fn is_from_file(&self) -> bool {
        match self.body.pieces.get(self.piece).map(|piece| &piece.content) {
            Some(Content::Kept(kept)) => kept.place() == Place::File,
            _ => false,
        }
    }

    /// Returns the next bytes, about `most` at most; empty at the end.
    ///
    /// # Errors
    /// Fails if they cannot be read, or if bytes are missing.
    pub fn next(&mut self, most: usize) -> Result<Bytes, StoreError> {
        while self.left > 0 {
            let body = self.body.clone();
            let missing = || StoreError::new("read", "a blob", &"bytes are missing");
            let piece = body.pieces.get(self.piece).ok_or_else(missing)?;
            if self.offset == piece.length {
                (self.piece, self.offset, self.file) = (self.piece + 1, 0, None);
                continue;
            }
            let wanted = (piece.length - self.offset).min(self.left).min(most as u64);
            let bytes = self.piece_bytes(piece, usize::try_from(wanted).unwrap_or(usize::MAX))?;
            if bytes.is_empty() {
                return Err(missing());
            }
            self.offset += bytes.len() as u64;
            self.left -= bytes.len() as u64;
            return Ok(bytes);
        }
        Ok(Bytes::new())
    }

    /// Returns the file of the next bytes, with its position set, if all remaining bytes are in it.
    ///
    /// # Errors
    /// Fails if it cannot be opened.
    pub fn whole_file(&mut self) -> Result<Option<&mut File>, StoreError> {
        let body = self.body.clone();
        let piece = body.pieces.get(self.piece).filter(|piece| piece.length - self.offset >= self.left);
        let kept = match piece.map(|piece| &piece.content) {
            Some(Content::Kept(kept)) if kept.place() == Place::File => kept,
            _ => return Ok(None),
        };
        self.open(kept).map(Some)
    }

    fn open(&mut self, kept: &Kept) -> Result<&mut File, StoreError> {
        let contents = self.contents.as_ref().expect("only a store on disk has rows and files");
        let path = contents.path(kept.id());
        let failed = |error| StoreError::new("read", &path, &error);
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut file = File::open(&path).map_err(failed)?;
                if self.offset > 0 {
                    file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
                }
                file
            }
        };
        Ok(self.file.insert(file))
    }

    fn piece_bytes(&mut self, piece: &Piece, wanted: usize) -> Result<Bytes, StoreError> {
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let part = |bytes: &Bytes| {
            let from = offset.min(bytes.len());
            bytes.slice(from..from.saturating_add(wanted).min(bytes.len()))
        };
        match &piece.content {
            Content::Bytes(bytes) => Ok(part(bytes)),
            Content::Kept(kept) if kept.place() == Place::Row => {
                let contents = self.contents.as_ref().expect("only a store on disk has rows and files");
                contents.row(kept).map(|bytes| part(&bytes))
            }
            Content::Kept(kept) => {
                let mut bytes = Vec::with_capacity(wanted);
                let read = self.open(kept)?.take(wanted as u64).read_to_end(&mut bytes);
                read.map_err(|error| StoreError::new("read content", kept.id().to_string(), &error))?;
                Ok(bytes.into())
            }
        }
    }
}
