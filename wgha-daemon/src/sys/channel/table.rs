//! What all peers are to know, and how far each connection has told it.
//!
//! Each change gets the next revision. A connection remembers up to which one it has told; what has a
//! later one is still due, with its latest value. So nothing is queued per connection: however slow a
//! peer reads and however often a record changes, it takes the memory of one record.

use std::collections::{BTreeMap, HashMap};

use super::message::{Message, RECORDS_MAX};
use crate::proto::{
    peers::PeerKey,
    sync::{Fingerprints, Introduction, Record},
};

#[derive(Debug, Default)]
pub(super) struct Table {
    revision: u64,
    introduction: Option<(u64, Introduction, Fingerprints)>,
    records: HashMap<PeerKey, (u64, Record)>,
    by_revision: BTreeMap<u64, PeerKey>,
    /// Since when there is a record of everybody.
    whole: Option<u64>,
}

/// Up to which revision a connection has told. The default: nothing, a snapshot is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    introduction: u64,
    pub(super) records: u64,
    whole: u64,
}

impl Cursor {
    /// All records are due again, and that they are all.
    pub(super) fn begin_again(&mut self) {
        (self.records, self.whole) = (0, 0);
    }
}

impl Table {
    /// Returns whether this is news.
    pub(super) fn introduce(&mut self, introduction: Introduction, fingerprints: Fingerprints) -> bool {
        let news = self.introduction.is_none_or(|(_, i, f)| (i, f) != (introduction, fingerprints));
        if news {
            self.revision += 1;
            self.introduction = Some((self.revision, introduction, fingerprints));
        }
        news
    }

    /// Returns whether anything in it is news.
    pub(super) fn publish(&mut self, records: Vec<Record>) -> bool {
        let before = self.revision;
        for record in records {
            let known = self.records.get(&record.key);
            if known.is_some_and(|(_, known)| *known == record) {
                continue;
            }
            self.revision += 1;
            if let Some((old, _)) = self.records.insert(record.key, (self.revision, record)) {
                self.by_revision.remove(&old);
            }
            self.by_revision.insert(self.revision, record.key);
        }
        self.revision != before
    }

    /// Returns whether this is news.
    pub(super) fn complete(&mut self) -> bool {
        let news = self.whole.is_none();
        if news {
            self.revision += 1;
            self.whole = Some(self.revision);
        }
        news
    }

    pub(super) fn withdraw(&mut self, keys: &[PeerKey]) {
        for key in keys {
            if let Some((revision, _)) = self.records.remove(key) {
                self.by_revision.remove(&revision);
            }
        }
    }

    pub(super) fn forget_records(&mut self) {
        self.records.clear();
        self.by_revision.clear();
        self.whole = None;
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Of both maps.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.records.len(), self.by_revision.len())
    }

    /// What is due next, and moves `cursor` behind it.
    pub(super) fn next(&self, cursor: &mut Cursor) -> Option<Message> {
        if let Some((revision, introduction, fingerprints)) = self.introduction
            && revision > cursor.introduction
        {
            cursor.introduction = revision;
            return Some(Message::Introduce(introduction, fingerprints));
        }
        let due = self.by_revision.range(cursor.records + 1..).take(RECORDS_MAX);
        let mut records = Vec::new();
        for (revision, key) in due {
            cursor.records = *revision;
            records.extend(self.records.get(key).map(|(_, record)| *record));
        }
        if !records.is_empty() {
            return Some(Message::Records(records));
        }
        let whole = self.whole.filter(|whole| *whole > cursor.whole)?;
        cursor.whole = whole;
        Some(Message::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sync::Recency;

    fn record(n: u16, port: u16) -> Record {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        let endpoint = Some(([192, 0, 2, 1], port).into());
        let key = PeerKey(key);
        Record { key, endpoint, last_handshake: None, keepalive: None, recency: Recency::NOW }
    }

    fn told(table: &Table, cursor: &mut Cursor) -> Vec<Record> {
        let mut all = Vec::new();
        while let Some(Message::Records(records)) = table.next(cursor) {
            assert!(records.len() <= RECORDS_MAX);
            all.extend(records);
        }
        all
    }

    #[test]
    fn a_snapshot_comes_first_then_only_what_changed_with_its_latest_value() {
        let (mut table, mut cursor) = (Table::default(), Cursor::default());
        assert!(table.publish((0..1000).map(|n| record(n, 1)).collect()));
        assert_eq!(told(&table, &mut cursor).len(), 1000);
        assert_eq!(told(&table, &mut cursor), []);

        assert!(!table.publish(vec![record(5, 1)]));
        assert_eq!(told(&table, &mut cursor), []);
        for port in 2..100 {
            assert!(table.publish(vec![record(5, port), record(6, port)]));
        }
        assert_eq!(told(&table, &mut cursor), [record(5, 99), record(6, 99)]);
        assert_eq!(told(&table, &mut Cursor::default()).len(), 1000);
    }

    #[test]
    fn that_those_were_all_comes_last_and_once_for_each_snapshot() {
        let (mut table, mut cursor) = (Table::default(), Cursor::default());
        table.publish(vec![record(1, 1)]);
        assert_eq!(told(&table, &mut cursor), [record(1, 1)]);
        assert_eq!(table.next(&mut cursor), None, "nobody has said so");
        assert!(table.complete() && !table.complete());
        assert_eq!(table.next(&mut cursor), Some(Message::Whole));
        table.publish(vec![record(1, 2)]);
        assert_eq!(table.next(&mut cursor), Some(Message::Records(vec![record(1, 2)])));
        assert_eq!(table.next(&mut cursor), None);
        cursor.begin_again();
        assert_eq!(told(&table, &mut cursor), [record(1, 2)]); // and takes the word behind it
        cursor.begin_again();
        assert!(matches!(table.next(&mut cursor), Some(Message::Records(_))));
        assert_eq!(table.next(&mut cursor), Some(Message::Whole));
        table.forget_records();
        assert_eq!(table.next(&mut Cursor::default()), None);
        assert!(table.complete(), "of nobody");
        assert_eq!(table.next(&mut cursor), Some(Message::Whole));
    }

    #[test]
    fn changes_take_no_memory_while_nobody_reads() {
        let mut table = Table::default();
        for port in 0..1000 {
            table.publish((0..100).map(|n| record(n, port)).collect());
        }
        assert_eq!(table.sizes(), (100, 100));
        table.withdraw(&[record(3, 0).key]);
        assert_eq!(table.sizes(), (99, 99));
        table.forget_records();
        assert_eq!(table.sizes(), (0, 0));
        assert_eq!(told(&table, &mut Cursor::default()), []);
    }
}
