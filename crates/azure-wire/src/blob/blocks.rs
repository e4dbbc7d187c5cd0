//! Block lists: the body of Put Block List and the response to Get Block List.

use super::{BadXml, limit};
use crate::xml::{Document, Element, read_flat};

const ROOT: &str = "BlockList";

/// The list in which Put Block List looks for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSource {
    /// The blocks of the current blob.
    Committed,
    /// The uploaded blocks that are not part of the blob yet.
    Uncommitted,
    /// The uncommitted blocks first, then the committed ones.
    Latest,
}

/// A block that becomes part of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockChoice {
    /// List in which the service looks for the block.
    pub source: BlockSource,
    /// Block id in base64.
    pub id: String,
}

/// Returns the body of Put Block List for these block ids, in the order of the blob.
pub fn write_block_choices<'a>(latest: impl IntoIterator<Item = &'a str>) -> String {
    let mut xml = Document::new(ROOT, &[]);
    for id in latest {
        xml.leaf("Latest", id);
    }
    xml.end(ROOT)
}

/// Parses the body of Put Block List. Stops at one block more than a blob can have.
///
/// # Errors
/// Fails if the body is not a block list or names an unknown source.
pub fn read_block_choices(body: &[u8]) -> Result<Vec<BlockChoice>, BadXml> {
    let mut choices = Vec::new();
    read_flat(body, ROOT, |name, text| {
        let source = match name {
            "Committed" => BlockSource::Committed,
            "Uncommitted" => BlockSource::Uncommitted,
            "Latest" => BlockSource::Latest,
            other => return Err(format!("<{other}> is not a block list")),
        };
        choices.push(BlockChoice { source, id: text.trim().into() });
        Ok(choices.len() <= limit::BLOCKS)
    })?;
    Ok(choices)
}

/// The response to Get Block List; a list that was not requested is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockList {
    /// Blocks of the blob, in order.
    pub committed: Option<Vec<Block>>,
    /// Uploaded blocks that are not part of the blob yet.
    pub uncommitted: Option<Vec<Block>>,
}

/// A block of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Block id in base64.
    pub id: String,
    /// Length of the block.
    pub size_bytes: u64,
}

impl BlockList {
    /// Returns the response body.
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

    /// Parses the response body.
    ///
    /// # Errors
    /// Fails if the body is not a block list, or a block has no name or size.
    pub fn read(body: &[u8]) -> Result<Self, BadXml> {
        let root = Element::read(body, ROOT)?;
        let blocks = |name: &str| {
            let Some(list) = root.child(name) else { return Ok(None) };
            let block = |element: &Element<'_>| {
                Some(Block { id: element.leaf("Name")?.into(), size_bytes: element.parse("Size")? })
            };
            let blocks: Option<Vec<_>> = list.children().iter().map(block).collect();
            blocks
                .map(Some)
                .ok_or_else(|| BadXml { root: ROOT, reason: "a block has no name or size".into() })
        };
        Ok(Self { committed: blocks("CommittedBlocks")?, uncommitted: blocks("UncommittedBlocks")? })
    }
}
