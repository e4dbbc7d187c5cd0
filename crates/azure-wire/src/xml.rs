//! The XML subset of Blob Storage: a parser into a tree, and a writer.

use crate::uri;
use quick_xml::{
    Reader, XmlVersion,
    escape::{escape, partial_escape},
    events::{BytesRef, BytesStart, Event},
};
use std::fmt::Write;

/// The body is not the expected XML document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid XML body, expected <{root}>: {reason}")]
pub struct BadXml {
    /// Root element of the expected document.
    pub root: &'static str,
    /// Description of the problem.
    pub reason: String,
}

/// Maximum nesting depth; Blob Storage needs five levels.
const MAX_DEPTH: usize = 16;

/// An element with its attributes, text and child elements.
pub(crate) struct Element<'a> {
    start: BytesStart<'a>,
    text: String,
    children: Vec<Element<'a>>,
}

impl<'a> Element<'a> {
    /// Parses a document whose root element is named `root`.
    pub fn read(body: &'a [u8], root: &'static str) -> Result<Self, BadXml> {
        let bad = |reason: String| BadXml { root, reason };
        let text = std::str::from_utf8(body).map_err(|error| bad(error.to_string()))?;
        let tree = tree(text.trim_start_matches('\u{feff}')).map_err(bad)?;
        if tree.name() != root {
            return Err(bad(format!("the root element is <{}>", tree.name())));
        }
        Ok(tree)
    }

    pub fn name(&self) -> &str {
        self.start.name().into_inner()
    }

    /// Returns the text of the element, with entities resolved.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text as a name, percent-decoded if the element has `Encoded="true"`.
    pub fn as_name(&self) -> String {
        match self.attribute("Encoded").as_deref() {
            Some("true" | "True" | "1") => uri::decode(&self.text).into_owned(),
            _ => self.text.clone(),
        }
    }

    pub fn attribute(&self, name: &str) -> Option<String> {
        let attribute = self.start.try_get_attribute(name).ok()??;
        attribute.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
    }

    pub fn children(&self) -> &[Element<'a>] {
        &self.children
    }

    pub fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|child| child.name() == name)
    }

    /// Returns the text of a child; `None` if the child is absent or empty.
    pub fn leaf(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }

    /// Parses the text of a child; `None` if the child is absent or empty, or its text is invalid.
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.leaf(name)?.trim().parse().ok()
    }
}

fn tree(text: &str) -> Result<Element<'_>, String> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element<'_>> = Vec::new();
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let whole = match event {
            Event::Start(start) if open.len() < MAX_DEPTH => {
                open.push(Element { start, text: String::new(), children: Vec::new() });
                continue;
            }
            Event::Empty(start) => Element { start, text: String::new(), children: Vec::new() },
            Event::End(_) => open.pop().ok_or("an end tag has no start tag")?,
            Event::Text(text) => {
                push_text(&mut open, &text.xml10_content());
                continue;
            }
            Event::CData(text) => {
                push_text(&mut open, &text.xml10_content());
                continue;
            }
            Event::GeneralRef(reference) => {
                push_text(&mut open, character(&reference)?.encode_utf8(&mut [0; 4]));
                continue;
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
            Event::Start(_) => return Err("elements are nested too deeply".into()),
            Event::DocType(_) => return Err("a document type declaration is not allowed".into()),
            Event::Eof => return Err("unexpected end of the document".into()),
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(whole),
            None => return Ok(whole),
        }
    }
}

/// Parses a flat document: a root whose children contain only text. Calls `each` for every child and keeps
/// nothing in memory. Stops at the first error of the document or of `each`, and when `each` returns `false`.
pub(crate) fn read_flat(
    body: &[u8],
    root: &'static str,
    mut each: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<(), BadXml> {
    let mut read = || -> Result<(), String> {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let (mut has_begun, mut name, mut text): (_, Option<BytesStart<'_>>, _) =
            (false, None, String::new());
        loop {
            let event = reader.read_event().map_err(|error| error.to_string())?;
            match event {
                Event::Start(start) | Event::Empty(start)
                    if !has_begun && start.name().into_inner() != root =>
                {
                    return Err(format!("the root element is <{}>", start.name().into_inner()));
                }
                Event::Start(_) if !has_begun => has_begun = true,
                Event::Empty(_) if !has_begun => return Ok(()),
                Event::Start(start) | Event::Empty(start) if name.is_some() => {
                    return Err(format!(
                        "<{}> is inside an element that can contain only text",
                        start.name().into_inner()
                    ));
                }
                Event::Start(start) => {
                    text.clear();
                    name = Some(start);
                }
                Event::Empty(start) => {
                    if !each(start.name().into_inner(), "")? {
                        return Ok(());
                    }
                }
                Event::End(_) => match name.take() {
                    Some(start) => {
                        if !each(start.name().into_inner(), &text)? {
                            return Ok(());
                        }
                    }
                    None if has_begun => return Ok(()),
                    None => return Err("an end tag has no start tag".into()),
                },
                Event::Text(more) if name.is_some() => text.push_str(&more.xml10_content()),
                Event::CData(more) if name.is_some() => text.push_str(&more.xml10_content()),
                Event::GeneralRef(reference) => text.push(character(&reference)?),
                Event::Text(_) | Event::CData(_) | Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::DocType(_) => return Err("a document type declaration is not allowed".into()),
                Event::Eof => return Err("unexpected end of the document".into()),
            }
        }
    };
    read().map_err(|reason| BadXml { root, reason })
}

fn push_text(open: &mut [Element<'_>], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn character(reference: &BytesRef<'_>) -> Result<char, String> {
    let resolved = reference.resolve_char_ref().map_err(|error| error.to_string())?;
    match (resolved, &**reference) {
        (Some(character), _) => Ok(character),
        (None, "amp") => Ok('&'),
        (None, "lt") => Ok('<'),
        (None, "gt") => Ok('>'),
        (None, "quot") => Ok('"'),
        (None, "apos") => Ok('\''),
        (None, other) => Err(format!("unknown entity &{other};")),
    }
}

/// Returns `true` if XML 1.0 can represent the text: no control characters except tab and line breaks, no
/// U+FFFE and U+FFFF.
pub(crate) fn can_hold(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..))
}

/// A document under construction.
pub(crate) struct Document(String);

impl Document {
    /// Starts a document with the XML declaration and the root element with its `attributes`.
    pub fn new(root: &str, attributes: &[(&str, &str)]) -> Self {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><");
        text.push_str(root);
        for (name, value) in attributes {
            let _ = write!(text, " {name}=\"{}\"", escape(*value));
        }
        text.push('>');
        Self(text)
    }

    pub fn open(&mut self, name: &str) {
        let _ = write!(self.0, "<{name}>");
    }

    pub fn close(&mut self, name: &str) {
        let _ = write!(self.0, "</{name}>");
    }

    /// Writes an empty element.
    pub fn empty(&mut self, name: &str) {
        let _ = write!(self.0, "<{name} />");
    }

    /// Writes an element that contains `text`.
    pub fn leaf(&mut self, name: &str, text: &str) {
        let _ = write!(self.0, "<{name}>{}</{name}>", partial_escape(text));
    }

    /// Writes an element that contains the text; writes nothing for `None`.
    pub fn leaf_if(&mut self, name: &str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.leaf(name, text.as_ref());
        }
    }

    /// Writes an element that contains a name, percent-encoded if XML cannot represent it.
    pub fn name(&mut self, element: &str, name: &str) {
        if can_hold(name) {
            self.leaf(element, name);
        } else {
            let _ = write!(self.0, "<{element} Encoded=\"true\">{}</{element}>", uri::encode_path(name));
        }
    }

    /// Closes the root and returns the document.
    pub fn end(mut self, root: &str) -> String {
        self.close(root);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root(body: &str) -> Result<String, String> {
        Element::read(body.as_bytes(), "A").map(|root| root.text().into()).map_err(|error| error.reason)
    }

    #[test]
    fn text_is_read_with_entities_references_and_cdata() {
        assert_eq!(
            root("\u{feff}<?xml version=\"1.0\"?><!-- c --><A>a &amp;&#x41;<![CDATA[<b>]]></A>").unwrap(),
            "a &A<b>"
        );
        assert_eq!(root("<A/>").unwrap(), "");
        assert_eq!(root("<A>  </A>").unwrap(), "  ");
    }

    #[test]
    fn unexpected_documents_are_rejected() {
        let deep = "<A>".repeat(20);
        for body in
            ["", "<A>", "</A>", "<A></B>", "<B/>", "text", "<A>&unknown;</A>", "<A>&#xD800;</A>", &deep]
        {
            assert!(root(body).is_err(), "{body}");
        }
        let bomb = "<!DOCTYPE A [<!ENTITY a \"aaaa\">]><A>&a;</A>";
        assert_eq!(root(bomb).unwrap_err(), "a document type declaration is not allowed");
        assert!(Element::read(&[0xff, 0xfe], "A").is_err());
    }

    fn flat(body: &str) -> Result<Vec<String>, String> {
        let mut read = vec![];
        let each = |name: &str, text: &str| {
            read.push(format!("{name}={text}"));
            if name == "bad" { Err("bad".into()) } else { Ok(name != "last") }
        };
        read_flat(body.as_bytes(), "A", each).map(|()| read).map_err(|error| error.reason)
    }

    #[test]
    fn a_flat_document_is_parsed_up_to_the_first_unexpected_element() {
        for (body, expected) in [
            ("<A/>", Ok(&[][..])),
            ("\u{feff}<?xml version=\"1.0\"?>\n<A>\n<x>1</x> <y/><!-- c --></A>", Ok(&["x=1", "y="])),
            ("<A><x>a &amp;&#x41;<![CDATA[<b>]]></x></A>", Ok(&["x=a &A<b>"])),
            // Text between elements is ignored.
            ("<A>lost &amp; <x>1</x></A>", Ok(&["x=1"])),
            // Nothing after the last accepted element is parsed.
            ("<A><x/><last/><x><x><x><<<", Ok(&["x=", "last="])),
            ("<B><x/></B>", Err("the root element is <B>")),
            ("<A><bad/><x><<<", Err("bad")),
            ("<A><x><y/></x></A>", Err("<y> is inside an element that can contain only text")),
            ("<A><x>1</x>", Err("unexpected end of the document")),
            ("", Err("unexpected end of the document")),
            ("<!DOCTYPE A []><A/>", Err("a document type declaration is not allowed")),
            ("<A><x>&other;</x></A>", Err("unknown entity &other;")),
        ] {
            let expected = expected.map(|all| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            assert_eq!(flat(body), expected.map_err(ToOwned::to_owned), "{body}");
        }
        assert!(flat("</A>").is_err() && flat("<A></B>").is_err() && flat("<A><x></A></x>").is_err());
    }

    proptest! {
        #[test]
        fn a_flat_document_and_its_tree_have_the_same_content(
            parts in proptest::collection::vec("<x>|</x>|<y/>|<A>|</A>|<!-- -->|a|&amp;|<!\\[CDATA\\[b\\]\\]>", 0..8),
        ) {
            let body = format!("<A>{}</A>", parts.concat());
            if let Ok(read) = flat(&body) {
                let root = Element::read(body.as_bytes(), "A").unwrap();
                let tree: Vec<_> =
                    root.children().iter().map(|child| format!("{}={}", child.name(), child.text())).collect();
                prop_assert_eq!(read, tree);
            }
        }

        #[test]
        fn every_name_is_read_back_as_written(name in any::<String>()) {
            let mut document = Document::new("A", &[("at", "<\"&\">")]);
            document.name("Name", &name);
            let text = document.end("A");
            let root = Element::read(text.as_bytes(), "A").unwrap();
            prop_assert_eq!(root.child("Name").unwrap().as_name(), name);
            prop_assert_eq!(root.attribute("at").unwrap(), "<\"&\">");
        }

        #[test]
        fn reading_never_panics(body in "[<>/A&#;x!\\[\\]\" =?-]{0,40}") {
            let _ = (root(&body), flat(&body));
        }
    }
}
