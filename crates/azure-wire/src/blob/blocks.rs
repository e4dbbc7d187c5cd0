//! Block lists: of which blocks a blob shall be made, and of which it is.

use super::{BadXml, limit};
use crate::xml::{Document, Element, read_flat};

const ROOT: &str = "BlockList";

/// Where to look for a block that is put into a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSource {
    /// Among the blocks of the blob.
    Committed,
    /// Among those that wait.
    Uncommitted,
    /// Among those that wait, then among those of the blob.
    Latest,
}

/// A block to put into a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockChoice {
    /// Where to look for it.
    pub source: BlockSource,
    /// Its id, in base64.
    pub id: String,
}

/// The body of Put Block List: the blocks of the blob in order.
pub fn write_block_choices<'a>(latest: impl IntoIterator<Item = &'a str>) -> String {
    let mut xml = Document::new(ROOT, &[]);
    for id in latest {
        xml.leaf("Latest", id);
    }
    xml.end(ROOT)
}

/// Reads the body of Put Block List, but not further than one block beyond the most that a blob can have.
///
/// # Errors
/// When it is not such a list, or names another source.
pub fn read_block_choices(body: &[u8]) -> Result<Vec<BlockChoice>, BadXml> {
    let mut choices = Vec::new();
    read_flat(body, ROOT, |name, text| {
        let source = match name {
            "Committed" => BlockSource::Committed,
            "Uncommitted" => BlockSource::Uncommitted,
            "Latest" => BlockSource::Latest,
            other => return Err(format!("<{other}> is no source of blocks")),
        };
        choices.push(BlockChoice { source, id: text.trim().into() });
        Ok(choices.len() <= limit::BLOCKS)
    })?;
    Ok(choices)
}

/// The answer to Get Block List. A list that was not asked for is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockList {
    /// The blocks of the blob.
    pub committed: Option<Vec<Block>>,
    /// Those that wait.
    pub uncommitted: Option<Vec<Block>>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its id, in base64.
    pub id: String,
    /// Its length.
    pub size_bytes: u64,
}

impl BlockList {
    /// The body of an answer.
    pub fn write(&self) -> String {
        let mut xml = Document::new(ROOT, &[]);
        for (name, blocks) in [("CommittedBlocks", &self.committed), ("UncommittedBlocks", &self.uncommitted)]
        {
            let Some(blocks) = blocks else { continue };
            xml.open(name);
            for block in blocks {
                xml.open("Block");
                xml.leaf("Name", &block.id);
                xml.leaf("Size", &block.size_bytes.to_string());
                xml.close("Block");
            }
            xml.close(name);
        }
        xml.end(ROOT)
    }

    /// Reads the body of an answer.
    ///
    /// # Errors
    /// When it is not such a list, or a block lacks its name or size.
    pub fn read(body: &[u8]) -> Result<Self, BadXml> {
        let root = Element::read(body, ROOT)?;
        let blocks = |name: &str| {
            let Some(list) = root.child(name) else { return Ok(None) };
            let block = |element: &Element<'_>| {
                Some(Block { id: element.leaf("Name")?.into(), size_bytes: element.parse("Size")? })
            };
            let blocks: Option<Vec<_>> = list.children().iter().map(block).collect();
            blocks.map(Some).ok_or_else(|| BadXml { of: ROOT, reason: "a block without name or size".into() })
        };
        Ok(Self { committed: blocks("CommittedBlocks")?, uncommitted: blocks("UncommittedBlocks")? })
    }
}
