//! Values, encoded and read back, owned and in place.

use super::*;
use proptest::prelude::*;

fn encode(fields: &[Field]) -> Vec<u64> {
    let mut words = Vec::new();
    for Field { index, value } in fields {
        match value {
            Value::I64(v) => match i32::try_from(*v) {
                Ok(v) => words.push(head(*index, Kind::I32, v as u32)),
                Err(_) => words.extend([head(*index, Kind::I64, 0), *v as u64]),
            },
            Value::U64(v) => match u32::try_from(*v) {
                Ok(v) => words.push(head(*index, Kind::U32, v)),
                Err(_) => words.extend([head(*index, Kind::U64, 0), *v]),
            },
            Value::I128(v) => {
                words.extend([head(*index, Kind::I128, 0), *v as u64, (*v >> 64) as u64]);
            }
            Value::U128(v) => {
                words.extend([head(*index, Kind::U128, 0), *v as u64, (*v >> 64) as u64]);
            }
            Value::F64(v) => words.extend([head(*index, Kind::F64, 0), v.to_bits()]),
            Value::Bool(v) => words.push(head(*index, Kind::Bool, u32::from(*v))),
            Value::Str(t) => text(&mut words, *index, Kind::Str, t),
            Value::Bytes(t) => text(&mut words, *index, Kind::Bytes, t),
            Value::Debug(t) => text(&mut words, *index, Kind::Debug, t),
            Value::Error(t) => text(&mut words, *index, Kind::Error, t),
            Value::Redacted => words.extend(redacted(*index, 1)),
        }
    }
    words
}

fn text(words: &mut Vec<u64>, index: u8, kind: Kind, text: &Text) {
    words.push(text_head(index, kind, text.bytes.len() as u16, text.whole));
    for chunk in text.bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        words.push(u64::from_le_bytes(word));
    }
}

fn any_text() -> impl Strategy<Value = Text> {
    (proptest::collection::vec(any::<u8>(), 0..64), 0..1000u32).prop_map(|(bytes, more)| Text {
        whole: bytes.len() as u32 + more,
        bytes,
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::I64),
        any::<i32>().prop_map(|v| Value::I64(v.into())),
        any::<u64>().prop_map(Value::U64),
        any::<u32>().prop_map(|v| Value::U64(v.into())),
        any::<i128>().prop_map(Value::I128),
        any::<u128>().prop_map(Value::U128),
        (-1e300..1e300f64).prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Redacted),
        any_text().prop_map(Value::Str),
        any_text().prop_map(Value::Bytes),
        any_text().prop_map(Value::Debug),
        any_text().prop_map(Value::Error),
    ]
}

/// Encoded values, and words that are anything.
fn any_words() -> impl Strategy<Value = Vec<u64>> {
    let values = any_fields().prop_map(|fields| encode(&fields));
    (values, proptest::collection::vec(any::<u64>(), 0..8))
        .prop_map(|(values, more)| [values, more].concat())
}

fn any_fields() -> impl Strategy<Value = Vec<Field>> {
    let field = (any::<u8>(), any_value()).prop_map(|(index, value)| Field { index, value });
    proptest::collection::vec(field, 0..8)
}

proptest! {
    #[test]
    fn values_come_back(fields in any_fields()) {
        prop_assert_eq!(decode(&encode(&fields)), fields);
    }

    #[test]
    fn a_value_takes_the_words_that_it_is_encoded_in(fields in any_fields()) {
        for field in fields {
            let encoded = encode(std::slice::from_ref(&field));
            prop_assert_eq!(field.value.words(), encoded.len());
        }
    }

    #[test]
    fn values_in_place_are_those_that_are_owned(words in any_words()) {
        let (mut in_place, mut owned) = (words.as_slice(), words.as_slice());
        while let Some((field, rest)) = take(owned) {
            let (seen, after) = take_in_place(in_place).unwrap();
            // Floats by their bits: one that is no number is not even itself.
            prop_assert_eq!(format!("{:?}", seen.owned()), format!("{field:?}"));
            prop_assert_eq!(format!("{:?}", field.borrowed()), format!("{seen:?}"));
            prop_assert_eq!(seen.value.is_truncated(), field.value.is_truncated());
            prop_assert_eq!(after, rest);
            (in_place, owned) = (after, rest);
        }
        prop_assert!(take_in_place(in_place).is_none());
    }

    #[test]
    fn arbitrary_words_are_decoded_without_a_panic(words in proptest::collection::vec(any::<u64>(), 0..64)) {
        prop_assert!(decode(&words).len() <= words.len());
    }

    #[test]
    fn what_is_fitted_is_bounded_and_a_prefix_of_each(fields in any_fields(), room in 0usize..40) {
        let mut fitted = Vec::new();
        let used = fit(&encode(&fields), room, |word| fitted.push(word));
        prop_assert_eq!(used, fitted.len());
        prop_assert!(used <= room);
        for field in decode(&fitted) {
            let same = fields.iter().any(|whole| whole.index == field.index && match (whole.value.text(), field.value.text()) {
                (Some(whole), Some(cut)) => whole.bytes.starts_with(&cut.bytes) && whole.whole == cut.whole,
                _ => whole.value == field.value,
            });
            prop_assert!(same);
        }
    }
}

#[test]
fn a_cut_character_is_not_given_in_part() {
    let text = |whole| Text {
        bytes: b"caf\xc3".to_vec(),
        whole,
    };
    assert_eq!(text(9).whole_characters(), b"caf");
    assert_eq!(text(4).whole_characters(), b"caf\xc3");
}

#[test]
fn the_room_of_a_text_leaves_a_word_for_each_field_to_come() {
    for room in 0..=253 {
        for after in 0..=255 {
            let taken = words_of(text_room(room, after));
            assert!(
                taken + after <= room || taken == 0,
                "room {room}, {after} to come"
            );
        }
    }
    // Two long texts and a small number share one record.
    let first = words_of(text_room(252, 2).min(5000));
    assert_eq!(first * 8, 1000);
    assert_eq!(text_room(252 - first - 1, 1), 1000);
    // A text that comes alone may have it all.
    assert_eq!(text_room(252, 0), 2016);
}

#[test]
fn what_was_redacted_later_takes_the_place_of_the_value() {
    let cut = Text {
        bytes: vec![b'x'; 21],
        whole: 5000,
    };
    for value in [
        Value::Bool(true),
        Value::U64(u64::MAX),
        Value::I128(-1),
        Value::Str(cut.clone()),
        Value::Error(cut),
    ] {
        let index = 7;
        let words = encode(&[Field { index, value }]);
        let replaced: Vec<u64> = redacted(7, words.len()).collect();
        assert_eq!(len_words(&replaced), Some(words.len()));
        assert!(replaced[1..].iter().all(|&word| word == 0));
        let value = Value::Redacted;
        assert_eq!(decode(&replaced), [Field { index, value }]);
        assert!(!are_truncated(&replaced));
    }
}

#[test]
fn of_a_text_that_was_cut_the_beginning_of_a_character_alone_is_left_out() {
    let cut = |bytes| Text { bytes, whole: 100 };
    assert_eq!(cut(&b"caf\xc3"[..]).whole_characters(), b"caf");
    assert_eq!(cut(&b"caf"[..]).whole_characters(), b"caf");
    // It has no characters.
    assert_eq!(cut(&b"\xffcaf\xc3"[..]).whole_characters(), b"\xffcaf\xc3");
}
