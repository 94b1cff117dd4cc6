//! Texts as states and checkpoints keep them. Events name accounts, orders and the like by UUIDs: those take no memory of
//! their own, where a text of 36 bytes would take 48.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringArray};
use arrow::datatypes::DataType;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Bytes of a UUID, as Arrow counts them.
const UUID_BYTES: i32 = size_of::<Uuid>() as i32;

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

/// A column of texts that are all UUIDs as sixteen bytes each, any other as it is.
pub(crate) fn packed(column: &ArrayRef) -> ArrayRef {
    let pack = || {
        let texts = column.as_string_opt::<i32>()?;
        let mut uuids = FixedSizeBinaryBuilder::with_capacity(texts.len(), UUID_BYTES);
        for text in texts {
            match text {
                Some(text) => uuids.append_value(uuid_of(text)?).ok()?,
                None => uuids.append_null(),
            }
        }
        Some(Arc::new(uuids.finish()) as ArrayRef)
    };
    pack().unwrap_or_else(|| column.clone())
}

/// A column of `data_type` that [`packed`] made.
pub(crate) fn unpacked(column: &ArrayRef, data_type: &DataType) -> ArrayRef {
    match column.as_fixed_size_binary_opt() {
        Some(uuids) if *data_type == DataType::Utf8 && uuids.value_length() == UUID_BYTES => {
            let uuids = uuids.iter().map(|bytes| Uuid::from_slice(bytes?).ok());
            let texts = uuids.map(|uuid| Some(uuid?.hyphenated().to_string()));
            Arc::new(texts.collect::<StringArray>())
        }
        _ => column.clone(),
    }
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
    fn a_column_of_uuids_takes_sixteen_bytes_each_and_comes_back() {
        let uuid = "e71586f0-f6ec-42cf-92ee-5dc9aae725c7";
        for (texts, is_packed) in [
            (vec![Some(uuid), None, Some(uuid)], true),
            (vec![Some(uuid), Some("a")], false),
            (vec![Some(""), None], false),
        ] {
            let texts: ArrayRef = Arc::new(StringArray::from(texts));
            let found = packed(&texts);
            assert_eq!(
                *found.data_type() == DataType::FixedSizeBinary(16),
                is_packed
            );
            assert_eq!(&unpacked(&found, &DataType::Utf8), &texts);
        }
        let mut bytes = FixedSizeBinaryBuilder::new(16);
        bytes.append_value([7; 16]).unwrap();
        let bytes: ArrayRef = Arc::new(bytes.finish());
        assert_eq!(&unpacked(&packed(&bytes), bytes.data_type()), &bytes);
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
