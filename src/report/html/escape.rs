//! Names from files are data: nothing in them may become markup, script or a trick of the text direction.

use serde::Serialize;

/// Longest name the page shows, in characters; model files may hold names of 64 kB.
const SHOWN_CHARS: usize = 64;

/// `text` for the content of HTML and SVG elements and for quoted attributes. Control characters, which neither may
/// hold, and marks that turn the direction of the text around a name become U+FFFD.
pub fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => safe.push(' '),
            c if c.is_control() || turns_direction(c) => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Marks that turn the direction of the text around them.
pub fn turns_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}

/// `value` as JSON inside a script element: no `<`, so neither `</script>` nor `<!--` can occur in it, no line separators,
/// which are line ends to older scripts, and nothing that steers whoever looks at the source of the page. What cannot be
/// serialised is `null`.
pub fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".into());
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // These occur in JSON only inside strings, where an escape means the same.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => push_escape(&mut safe, c),
            c if c.is_control() || turns_direction(c) => push_escape(&mut safe, c),
            c => safe.push(c),
        }
    }
    safe
}

/// All that is escaped has four hexadecimal digits at most.
fn push_escape(json: &mut String, c: char) {
    json.push_str(&format!("\\u{:04x}", u32::from(c)));
}

/// The beginning of a name that is too long to be shown.
pub fn shown(name: &str) -> String {
    cut(name, SHOWN_CHARS)
}

/// At most `chars` characters of `name`, the last of them an ellipsis where there are more.
pub fn cut(name: &str, chars: usize) -> String {
    match name.char_indices().nth(chars) {
        None => name.to_owned(),
        Some(_) => name.chars().take(chars.saturating_sub(1)).chain(['\u{2026}']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOSTILE: &str = "</script><img src=x onerror='alert(1)'>&\"\u{2028}\u{202E}\0";

    #[test]
    fn markup_leaves_nothing_to_parse() {
        let safe = markup(HOSTILE);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{202E}', '\0']), "{safe}");
        assert!(safe.starts_with("&lt;/script&gt;"));
        assert_eq!(markup("Löwe & Bär"), "Löwe &amp; Bär");
    }

    #[test]
    fn json_cannot_end_its_element_and_reads_back() {
        let safe = json(&HOSTILE);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}', '\u{202E}', '\0']), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), HOSTILE);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(cut("ääääää", 4), "äää…");
        assert_eq!(cut("ääää", 4), "ääää");
        assert_eq!(shown(&"x".repeat(60_000)).chars().count(), SHOWN_CHARS);
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in any::<String>()) {
            prop_assert!(!markup(&text).contains(['<', '>', '"', '\'']));
            let safe = json(&text);
            prop_assert!(!safe.contains('<'));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }
}
