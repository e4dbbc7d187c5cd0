//! Keys: ids in lower case, as the model compares them. Ids are unique regardless of case.
//!
//! A client's id becomes a key where a request enters the model, and nowhere else. The keys of pools, jobs
//! and tasks are different types, so that mixing them up does not compile. A key is a reference-counted text:
//! the map that owns an object and all indexes that name it share the same text.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, sync::Arc};

macro_rules! keys {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the key of an id.
            pub fn of(id: &str) -> Self {
                Self(lower(id))
            }

            /// Returns the text: the id in lower case.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the id as its client wrote it; shares the key's memory if it is in lower case.
            pub fn spelled(&self, id: &str) -> Arc<str> {
                debug_assert!(self.0.eq_ignore_ascii_case(id), "{id} does not match the key {self}");
                if *self.0 == *id { self.0.clone() } else { id.into() }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|id| Self::of(&id))
            }
        }
    )+ };
}

keys! {
    /// The key of a pool.
    PoolKey,
    /// The key of a node within its pool. The service makes ids of nodes, in lower case.
    NodeKey,
    /// The key of a job. The key of a task in its place does not compile:
    ///
    /// ```compile_fail,E0308
    /// use dropmill_batch_model::model::{JobKey, TaskKey};
    /// let job: JobKey = TaskKey::of("job-1");
    /// ```
    JobKey,
    /// The key of a task within its job.
    TaskKey,
    /// The key of a job schedule.
    ScheduleKey,
}

fn lower(id: &str) -> Arc<str> {
    if id.bytes().any(|byte| byte.is_ascii_uppercase()) { id.to_ascii_lowercase().into() } else { id.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_differ_in_case_have_one_key() {
        let (one, other) = (JobKey::of("Mill-ÄB"), JobKey::of("mILL-Äb"));
        assert_eq!(one, other);
        assert_eq!(one.as_str(), "mill-Äb", "only letters of ASCII have a case");
        assert_ne!(one, JobKey::of("mill-äb"));
    }

    #[test]
    fn an_id_in_lower_case_shares_the_memory_of_its_key() {
        let key = TaskKey::of("a-1");
        assert!(std::ptr::eq(key.as_str(), &*key.spelled("a-1")));
        assert_eq!(&*key.spelled("A-1"), "A-1");
    }
}
