//! Subsets: the endpoints that have certain labels.
//!
//! The index is built once a snapshot. It numbers the labels, and keeps for each of them the endpoints that have it, in
//! order; a subset is what those lists have in common. Choosing one is for the snapshot too: on the request path only
//! the finished list is used.

use std::collections::BTreeMap;

/// Which endpoints have which labels.
#[derive(Clone, Debug, Default)]
pub struct SubsetIndex {
    endpoints: u32,
    /// Name → value → endpoints, in order.
    labels: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>>,
}

impl SubsetIndex {
    /// The index of these endpoints: the labels of each, by endpoint index.
    #[must_use]
    pub fn new<'a, M>(endpoints: impl IntoIterator<Item = M>) -> Self
    where
        M: IntoIterator<Item = (&'a str, &'a str)>,
    {
        let mut index = Self::default();
        for labels in endpoints {
            for (name, value) in labels {
                let having = index.labels.entry(name.into()).or_default().entry(value.into()).or_default();
                // One that names a label twice has it once.
                if having.last() != Some(&index.endpoints) {
                    having.push(index.endpoints);
                }
            }
            index.endpoints += 1;
        }
        index
    }

    /// The endpoints that have all of these labels, by index, in order. Without labels it's all of them.
    #[must_use]
    pub fn select<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u32> {
        let mut lists = Vec::new();
        for (name, value) in labels {
            match self.labels.get(name).and_then(|values| values.get(value)) {
                Some(having) => lists.push(having),
                None => return Vec::new(),
            }
        }
        // The shortest list decides how long it takes.
        lists.sort_by_key(|having| having.len());
        let Some((shortest, others)) = lists.split_first() else { return (0..self.endpoints).collect() };
        let in_all = |endpoint: &u32| others.iter().all(|having| having.binary_search(endpoint).is_ok());
        shortest.iter().copied().filter(in_all).collect()
    }

    /// The values that a label has, each with the number of its endpoints: for an error that says what there is.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, usize)> {
        self.labels.get(name).into_iter().flatten().map(|(value, having)| (&**value, having.len()))
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints == 0
    }
}

#[cfg(test)]
mod tests;
