//! Which names a topic can have (`org.apache.kafka.common.internals.Topic`).

use std::borrow::Cow;

/// The catalog's own topic, which is in no catalog.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
pub const TRANSACTION_STATE: &str = "__transaction_state";
pub const SHARE_GROUP_STATE: &str = "__share_group_state";

/// With `-` and a partition's ten digits, and a `-delete` suffix with a UUID, it still fits a file name of 255 bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The topics that the broker writes itself and shows as internal.
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Why a topic cannot be called so, in Kafka's words.
pub fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}",
            shortened(name)
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', \
             '_' and '-'"
        ));
    }
    Ok(())
}

/// What two names share that cannot both be there: metrics write `.` as `_`. `None`: the name collides with none.
pub fn collision_key(name: &str) -> Option<Cow<'_, str>> {
    if name.contains('.') {
        Some(Cow::Owned(name.replace('.', "_")))
    } else if name.contains('_') {
        Some(Cow::Borrowed(name))
    } else {
        None
    }
}

/// A name from the network can be 32 KiB: enough of it to be recognised.
fn shortened(name: &str) -> &str {
    name.char_indices().nth(TOPIC_NAME_BYTES_MAX).map_or(name, |(end, _)| name.get(..end).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_kafka_has_them() {
        for good in ["a", "A-1.b_c", "...", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", "a\0", &"x".repeat(250)] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"ä".repeat(9000)).expect_err("too long").len() < 700);
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c").as_deref(), Some("a_b_c"));
        assert_eq!(collision_key("a_b_c").as_deref(), Some("a_b_c"));
        assert_eq!(collision_key("a-b"), None);
    }
}
