//! Maven's `settings.xml`: one `<proxy>` for https repositories, edited in place. All other bytes stay.
//!
//! quick-xml finds the elements; the text is changed at their positions. Maven takes the first proxy of a protocol, so
//! regauth's comes first.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::errors::IllFormedError;
use quick_xml::events::Event;
use regauth_shared::ErrorBody;

use super::setting::{Applied, AppliedSetting, Reverted, Setting};
use crate::error;

/// Id of the proxy, and key of the setting. Its value is `HOST PORT`.
pub(super) const PROXY_ID: &str = "regauth";

/// Adds the proxy.
///
/// # Errors
/// The text is not XML, or not Maven's.
pub(super) fn apply(text: &str, settings: &[Setting]) -> Result<Applied, ErrorBody> {
    let mut applied = Applied {
        text: text.to_owned(),
        settings: Vec::new(),
    };
    for setting in settings {
        let written = setting.value.text();
        let document = Document::parse(&applied.text)?;
        let present = document.proxies.iter().find(|proxy| proxy.id == PROXY_ID);
        if present.is_some_and(|proxy| proxy.address() == written && proxy.is_used_for_https()) {
            continue;
        }
        let (text, element) = document.with_proxy(&applied.text, &written);
        applied.settings.push(AppliedSetting {
            key: setting.key.clone(),
            written,
            before: present.and_then(|proxy| applied.text.get(proxy.range.clone()).map(str::to_owned)),
            element,
        });
        applied.text = text;
    }
    Ok(applied)
}

/// Removes the proxy, or puts back the one before.
///
/// # Errors
/// As [`apply`].
pub(super) fn revert(text: &str, applied: &[AppliedSetting]) -> Result<Reverted, ErrorBody> {
    let mut reverted = Reverted {
        text: text.to_owned(),
        kept: Vec::new(),
    };
    for setting in applied {
        let document = Document::parse(&reverted.text)?;
        let Some(proxy) = document.proxies.iter().find(|proxy| proxy.id == PROXY_ID) else {
            continue;
        };
        if proxy.address() != setting.written {
            reverted.kept.push(format!("the proxy {PROXY_ID}"));
            continue;
        }
        let is_alone = document.proxies.len() == 1 && setting.element.is_some();
        let range = match (&setting.before, &document.list) {
            (Some(_), _) => proxy.range.clone(),
            (None, Some(list)) if is_alone => with_its_line(&reverted.text, list.range.clone()),
            (None, _) => with_its_line(&reverted.text, proxy.range.clone()),
        };
        let before = setting.before.as_deref().unwrap_or_default();
        reverted.text.replace_range(range, before);
    }
    Ok(reverted)
}

/// URLs of the user's own proxies, without user and password.
pub(super) fn other_proxies(text: &str) -> Vec<String> {
    let proxies = Document::parse(text)
        .map(|document| document.proxies)
        .unwrap_or_default();
    let of_user = proxies
        .into_iter()
        .filter(|proxy| proxy.id != PROXY_ID && proxy.is_active());
    of_user
        .map(|proxy| format!("http://{}:{}", proxy.host, proxy.port))
        .collect()
}

/// Positions in the text.
#[derive(Default)]
struct Document {
    /// The element `<settings>`, with its content.
    root: Option<Element>,
    /// The element `<proxies>`.
    list: Option<Element>,
    proxies: Vec<Proxy>,
    /// The proxy that is being read.
    open_proxy: Proxy,
}

#[derive(Clone, Default)]
struct Element {
    range: Range<usize>,
    /// Content between the tags; `None` for an element without an end tag.
    content: Option<Range<usize>>,
}

#[derive(Default)]
struct Proxy {
    range: Range<usize>,
    id: String,
    active: String,
    protocol: String,
    host: String,
    port: String,
}

impl Proxy {
    fn address(&self) -> String {
        format!("{} {}", self.host, self.port)
    }

    fn is_active(&self) -> bool {
        self.active.is_empty() || self.active == "true"
    }

    fn is_used_for_https(&self) -> bool {
        self.is_active() && self.protocol == "https"
    }

    fn set(&mut self, name: &str, value: &str) {
        let field = match name {
            "id" => &mut self.id,
            "active" => &mut self.active,
            "protocol" => &mut self.protocol,
            "host" => &mut self.host,
            "port" => &mut self.port,
            _ => return,
        };
        value.trim().clone_into(field);
    }
}

impl Document {
    fn parse(text: &str) -> Result<Self, ErrorBody> {
        let mut document = Self::default();
        let mut reader = Reader::from_str(text);
        // Open elements: the name, the position of the start tag, the position after it.
        let mut open: Vec<(String, usize, usize)> = Vec::new();
        loop {
            let start = position(&reader);
            let event = reader.read_event().map_err(|why| not_xml(text, &reader, &why))?;
            let end = position(&reader);
            match event {
                Event::Start(tag) => open.push((tag.local_name().as_ref().to_owned(), start, end)),
                Event::Empty(tag) => {
                    open.push((tag.local_name().as_ref().to_owned(), start, end));
                    document.close(&open, None, end, text);
                    open.pop();
                }
                Event::End(_) => {
                    document.close(&open, Some(start), end, text);
                    open.pop();
                }
                Event::Eof => break,
                _ => {}
            }
        }
        if let Some((_, start, _)) = open.last() {
            return Err(malformed(text, *start, "an element has no end tag"));
        }
        let is_blank = text.trim().is_empty();
        if is_blank || document.root.is_some() {
            return Ok(document);
        }
        Err(error::failed("the file is not Maven's: it has no <settings> element")
            .hint("fix the file, or move it away, and try again"))
    }

    /// Records the innermost open element, which ends at `end`. `content_end` is the position of its end tag.
    fn close(&mut self, open: &[(String, usize, usize)], content_end: Option<usize>, end: usize, text: &str) {
        let names: Vec<&str> = open.iter().map(|(name, ..)| name.as_str()).collect();
        let Some((_, start, content_start)) = open.last() else {
            return;
        };
        let content = content_end.map(|content_end| *content_start..content_end);
        let element = Element {
            range: *start..end,
            content: content.clone(),
        };
        match names.as_slice() {
            ["settings"] => self.root = Some(element),
            ["settings", "proxies"] => self.list = Some(element),
            ["settings", "proxies", "proxy"] => {
                self.open_proxy.range = element.range;
                self.proxies.push(std::mem::take(&mut self.open_proxy));
            }
            ["settings", "proxies", "proxy", name] => {
                let value = content.and_then(|range| text.get(range)).unwrap_or_default();
                self.open_proxy.set(name, value);
            }
            _ => {}
        }
    }

    /// Text with the proxy, and the outermost element that was created for it.
    fn with_proxy(&self, text: &str, address: &str) -> (String, Option<String>) {
        let line_ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let (range, inserted, created) = self.change(text, &proxy_lines(address));
        let mut new = text.to_owned();
        new.replace_range(range, &inserted.replace('\n', line_ending));
        (new, created.map(str::to_owned))
    }

    /// Range of the text with its replacement.
    fn change(&self, text: &str, proxy: &[String]) -> (Range<usize>, String, Option<&'static str>) {
        let proxy = indented(proxy, 2);
        let list = format!("  <proxies>\n{proxy}  </proxies>\n");
        if let Some(present) = self.proxies.iter().find(|proxy| proxy.id == PROXY_ID) {
            return (present.range.clone(), proxy.trim().to_owned(), None);
        }
        match (&self.list, &self.root) {
            (
                Some(Element {
                    content: Some(content), ..
                }),
                _,
            ) => (content.start..content.start, format!("\n{}", proxy.trim_end()), None),
            (Some(empty), _) => (empty.range.clone(), list.trim().to_owned(), None),
            (
                None,
                Some(Element {
                    content: Some(content), ..
                }),
            ) => {
                let at = start_of_own_line(text, content.end);
                (at..at, list, Some("proxies"))
            }
            (None, Some(empty)) => {
                let root = format!("{ROOT}\n{list}</settings>");
                (empty.range.clone(), root, Some("settings"))
            }
            (None, None) => (0..text.len(), format!("{ROOT}\n{list}</settings>\n"), Some("settings")),
        }
    }
}

fn indented(lines: &[String], depth: usize) -> String {
    lines
        .iter()
        .map(|line| format!("{}{line}\n", "  ".repeat(depth)))
        .collect()
}

/// Start of the line, if there are only blanks before the position.
fn start_of_own_line(text: &str, position: usize) -> usize {
    let before = text.get(..position).unwrap_or_default();
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    let is_own = before.get(line..).is_some_and(|rest| rest.trim().is_empty());
    if is_own { line } else { position }
}

fn proxy_lines(address: &str) -> Vec<String> {
    let (host, port) = address.split_once(' ').unwrap_or((address, ""));
    let element = |name: &str, value: &str| format!("  <{name}>{value}</{name}>");
    vec![
        "<proxy>".to_owned(),
        element("id", PROXY_ID),
        element("active", "true"),
        element("protocol", "https"),
        element("host", host),
        element("port", port),
        "</proxy>".to_owned(),
    ]
}

/// Range with the blanks before it and its line ending.
fn with_its_line(text: &str, range: Range<usize>) -> Range<usize> {
    let before = text.get(..range.start).unwrap_or_default();
    let start = before.trim_end_matches([' ', '\t']).len();
    let start = before
        .get(..start)
        .map_or(start, |before| before.trim_end_matches(['\n', '\r']).len());
    start..range.end
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn not_xml(text: &str, reader: &Reader<&[u8]>, why: &quick_xml::Error) -> ErrorBody {
    // Other texts quote names of tags, and a password with a `<` looks like one.
    let reason = match why {
        quick_xml::Error::Syntax(error) => &error.to_string(),
        quick_xml::Error::IllFormed(IllFormedError::UnclosedReference) => "an `&` has no `;`",
        _ => "a tag is malformed, or has no partner",
    };
    let at = usize::try_from(reader.error_position()).unwrap_or_default();
    malformed(text, at, reason)
}

fn malformed(text: &str, at: usize, reason: &str) -> ErrorBody {
    let line = 1 + text.get(..at).unwrap_or_default().matches('\n').count();
    error::failed(format!("the file is not XML, line {line}: {reason}"))
        .hint("fix the file, or move it away, and try again")
}

const ROOT: &str = "<settings xmlns=\"http://maven.apache.org/SETTINGS/1.0.0\">";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::setting::SettingValue;

    fn settings() -> [Setting; 1] {
        [Setting {
            key: vec![PROXY_ID.to_owned()],
            value: SettingValue::Text("127.0.0.1 9001".to_owned()),
        }]
    }

    const CORP: &str = "<proxy><id>corp</id><host>proxy.corp</host><port>3128</port><password>x</password></proxy>";

    #[test]
    fn adds_the_first_proxy_and_removes_it_from_every_shape() {
        for before in [
            "".to_owned(),
            "<settings/>".to_owned(),
            "<?xml version=\"1.0\"?>\n<!-- mine -->\n<settings>\n  <offline>false</offline>\n</settings>\n".to_owned(),
            "<settings><offline/></settings>".to_owned(),
            format!("<settings>\r\n  <proxies>\r\n    {CORP}\r\n  </proxies>\r\n</settings>\r\n"),
            "<settings>\n  <!-- <proxies></proxies> -->\n  <proxies/>\n</settings>\n".to_owned(),
            "<settings>\n  <proxies>\n  </proxies>\n  <servers/>\n</settings>".to_owned(),
        ] {
            let first = apply(&before, &settings()).unwrap();
            let document = Document::parse(&first.text).unwrap();
            let ids: Vec<_> = document.proxies.iter().map(|proxy| proxy.id.as_str()).collect();
            assert_eq!(ids.first(), Some(&PROXY_ID), "{}", first.text);
            assert!(document.proxies[0].is_used_for_https() && document.proxies[0].address() == "127.0.0.1 9001");
            assert_eq!(first.text.matches("\r\n").count() > 0, before.contains("\r\n"));
            let again = apply(&first.text, &settings()).unwrap();
            assert!(again.settings.is_empty() && again.text == first.text);
            let back = revert(&first.text, &first.settings).unwrap();
            let document = Document::parse(&back.text).unwrap();
            assert!(document.proxies.iter().all(|proxy| proxy.id == "corp"), "{}", back.text);
            assert_eq!(other_proxies(&first.text), other_proxies(&before));
        }
    }

    #[test]
    fn the_users_active_proxies_are_found() {
        let text = format!(
            "<settings><proxies>{CORP}<proxy><active>false</active><host>x</host></proxy></proxies></settings>"
        );
        assert_eq!(other_proxies(&text), ["http://proxy.corp:3128"]);
    }

    #[test]
    fn a_proxy_that_was_changed_since_stays() {
        let first = apply("<settings>\n</settings>\n", &settings()).unwrap();
        let edited = first.text.replace("9001", "9002");
        let back = revert(&edited, &first.settings).unwrap();
        assert_eq!((back.text, back.kept.len()), (edited, 1));
    }

    #[test]
    fn refuses_what_is_not_mavens_with_the_line() {
        for (text, said) in [
            ("<project></project>", "no <settings>"),
            ("<settings>\n  <proxies>\n</settings>", "line 3"),
            ("<settings>\n  <proxies>\n", "line 2: an element has no end tag"),
            ("<settings>\n  <password>a<s3cret</password>\n</settings>", "line 3"),
            ("<settings>\n  <password>s3cret&</password>\n</settings>", "line 2"),
            ("proxies: []", "no <settings>"),
        ] {
            let refused = apply(text, &settings()).unwrap_err();
            assert!(refused.message.contains(said), "{text}: {}", refused.message);
            assert!(!refused.message.contains("s3cret"), "{}", refused.message);
        }
    }
}
