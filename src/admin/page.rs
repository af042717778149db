//! The live page: one file, embedded, and the policy that lets nothing run on it but what the file brings.
//!
//! Invariant: the policy names the page's only style and only script by their digests, so markup that came in with
//! data would neither run nor load anything.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The page, `text/html; charset=utf-8`.
pub const PAGE: &str = include_str!("page.html");

/// The value of `Content-Security-Policy` that belongs to [`PAGE`].
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        source_of(PAGE, "script"),
        source_of(PAGE, "style"),
    )
});

/// The source expression of an inline element: its text by digest.
fn source_of(page: &str, tag: &str) -> String {
    let (opening, closing) = (format!("<{tag}>"), format!("</{tag}>"));
    let text = page.split_once(&opening).and_then(|(_, rest)| rest.split_once(&closing));
    match text {
        Some((text, _)) => format!("'sha256-{}'", base64(&Sha256::digest(text.as_bytes()))),
        None => "'none'".to_owned(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |number, at| number << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            if at > group.len() {
                text.push('=');
            } else {
                text.push(char::from(DIGITS[(number >> (18 - 6 * at)) as usize & 63]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let coded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(coded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn the_page_has_one_style_and_one_script_and_the_policy_names_both() {
        for tag in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "elements of {tag}");
            let source = source_of(PAGE, tag);
            assert!(source.starts_with("'sha256-"), "{source}");
            assert!(POLICY.contains(&source), "{}", *POLICY);
        }
        assert!(!POLICY.contains("unsafe"));
    }

    #[test]
    fn the_page_has_no_markup_that_the_policy_would_refuse_and_puts_in_none() {
        for word in
            [" style=\"", " onclick", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"]
        {
            assert!(!PAGE.contains(word), "{word}");
        }
        // Addresses of other hosts; the name of SVG is none.
        assert_eq!(PAGE.replace("http://www.w3.org/2000/svg", "").matches("://").count(), 0);
    }

    #[test]
    fn the_page_stays_small() {
        assert!(PAGE.len() < 48 * 1024, "{} bytes", PAGE.len());
    }
}
