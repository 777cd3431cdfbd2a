//! Whether our WireGuard knows where the clients are, and when the loop hears of it.

use wgha_common::Timestamp;

use crate::proto::Input;

/// What is known of the device, and what the loop has been told.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// It may be another one since then.
    doubted_at: Timestamp,
    /// It was read since, and nothing has failed.
    fresh: bool,
    told: bool,
}

impl Ready {
    /// The device may be another one by now.
    pub fn doubt(&mut self, now: Timestamp) {
        (self.doubted_at, self.fresh) = (now, false);
    }

    /// What was read counts, unless reading began before the doubt. Whether it does.
    pub fn read(&mut self, begun: Timestamp) -> bool {
        self.fresh = begun >= self.doubted_at;
        self.fresh
    }

    /// It cannot be read or changed.
    pub fn failed(&mut self) {
        self.fresh = false;
    }

    /// Whether it was read since it may have become another one, or something has failed.
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What the loop is to be told, if that is news.
    pub fn news(&mut self, complete: bool) -> Option<Input> {
        let ready = complete && self.fresh;
        let news = ready != self.told;
        self.told = ready;
        news.then_some(if ready { Input::EndpointsKnown } else { Input::EndpointsLost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn only_a_device_that_was_read_since_it_may_have_changed_counts() {
        let mut ready = Ready::default();
        assert_eq!(ready.news(true), None, "it was never read");
        assert!(ready.read(at(1)));
        assert_eq!(ready.news(true), Some(Input::EndpointsKnown));
        assert_eq!(ready.news(true), None);
        ready.doubt(at(3));
        assert!(!ready.read(at(2)), "it was being read");
        assert_eq!(ready.news(true), Some(Input::EndpointsLost));
        assert!(ready.read(at(3)));
        assert_eq!(ready.news(false), None);
        assert_eq!(ready.news(true), Some(Input::EndpointsKnown));
        ready.failed();
        assert_eq!(ready.news(true), Some(Input::EndpointsLost));
    }
}
