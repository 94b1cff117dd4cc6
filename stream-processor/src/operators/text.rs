//! Texts as aggregate states keep them. Events name accounts, orders and the like by UUIDs: those take no memory of
//! their own, where a text of 36 bytes would take 48.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// A text that is kept.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Plain(Box<str>),
    /// In the form of RFC 9562, section 4, with small letters.
    Uuid(Uuid),
}

/// A text that lies in its column or in a state. Equal texts are equal, whatever form they have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TextRef<'t> {
    Plain(&'t str),
    Uuid(&'t Uuid),
}

/// The UUID that is written as `text`.
fn uuid_of(text: &str) -> Option<Uuid> {
    if text.len() != Hyphenated::LENGTH || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse(text).ok()
}

impl Text {
    pub(crate) fn seen(&self) -> TextRef<'_> {
        match self {
            Text::Plain(text) => TextRef::Plain(text),
            Text::Uuid(uuid) => TextRef::Uuid(uuid),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        uuid_of(text).map_or_else(|| Text::Plain(text.into()), Text::Uuid)
    }
}

impl From<Text> for Box<str> {
    fn from(text: Text) -> Self {
        match text {
            Text::Plain(text) => text,
            Text::Uuid(uuid) => uuid.hyphenated().to_string().into(),
        }
    }
}

impl TextRef<'_> {
    /// Gives `act` the letters.
    pub(crate) fn with<R>(self, act: impl FnOnce(&str) -> R) -> R {
        match self {
            TextRef::Plain(text) => act(text),
            TextRef::Uuid(uuid) => {
                let mut letters = [0; Hyphenated::LENGTH];
                act(uuid.hyphenated().encode_lower(&mut letters))
            }
        }
    }

    pub(crate) fn to_text(self) -> Text {
        match self {
            TextRef::Plain(text) => text.into(),
            TextRef::Uuid(uuid) => Text::Uuid(*uuid),
        }
    }
}

impl Ord for TextRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (TextRef::Plain(one), TextRef::Plain(other)) => one.cmp(other),
            // The digits of a UUID are in the order of its bytes.
            (TextRef::Uuid(one), TextRef::Uuid(other)) => one.cmp(other),
            (TextRef::Plain(text), TextRef::Uuid(uuid)) => match uuid_of(text) {
                Some(one) => one.cmp(uuid),
                None => other.with(|other| text.cmp(other)),
            },
            (TextRef::Uuid(_), TextRef::Plain(_)) => other.cmp(self).reverse(),
        }
    }
}

impl PartialOrd for TextRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TextRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for TextRef<'_> {}

impl Hash for TextRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.with(|text| text.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = String> {
        let uuid = || any::<u128>().prop_map(Uuid::from_u128);
        prop_oneof![
            4 => uuid().prop_map(|uuid| uuid.to_string()),
            // Few, so that some are equal.
            2 => (0..3u128).prop_map(|uuid| Uuid::from_u128(uuid).to_string()),
            1 => uuid().prop_map(|uuid| uuid.to_string().to_uppercase()),
            1 => uuid().prop_map(|uuid| uuid.simple().to_string()),
            1 => uuid().prop_map(|uuid| uuid.to_string().replace('-', "_")),
            1 => "[0-9a-f-]{36}",
            1 => ".{0,40}",
        ]
    }

    proptest! {
        #[test]
        fn a_kept_text_is_what_it_was(one in texts(), other in texts()) {
            let hasher = ahash::RandomState::with_seed(1);
            let (kept, kept_other) = (Text::from(&*one), Text::from(&*other));
            kept.seen().with(|text| assert_eq!(text, one));
            prop_assert_eq!(&*Box::<str>::from(kept.clone()), &*one);
            kept.seen().to_text().seen().with(|text| assert_eq!(text, one));
            let forms = |kept, plain| [kept, TextRef::Plain(plain)];
            for one_of in forms(kept.seen(), &*one) {
                prop_assert_eq!(hasher.hash_one(one_of), hasher.hash_one(&*one));
                for other_of in forms(kept_other.seen(), &*other) {
                    prop_assert_eq!(one_of.cmp(&other_of), one.cmp(&other), "{} {}", one, other);
                    prop_assert_eq!(one_of == other_of, one == other);
                }
            }
        }
    }

    #[test]
    fn a_uuid_takes_no_memory_of_its_own() {
        let kept = Text::from("e71586f0-f6ec-42cf-92ee-5dc9aae725c7");
        assert!(matches!(kept, Text::Uuid(_)));
        assert!(matches!(
            Text::from("E71586F0-f6ec-42cf-92ee-5dc9aae725c7"),
            Text::Plain(_)
        ));
    }
}
