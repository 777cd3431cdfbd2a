macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal),+ $(,)?) => {
        /// What the kernel half counts, apart from WireGuard traffic that passed.
        ///
        /// The number is the index in `COUNTERS`, the name what people see.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Counter { $($(#[doc = $doc])+ $variant),+ }

        impl Counter {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Its name in status, logs and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

counters! {
    /// A valid advert of our VRID from another router.
    AdvertValid = "advert_valid",
    /// Not version 3.
    AdvertBadVersion = "advert_bad_version",
    /// Not type 1, ADVERTISEMENT.
    AdvertBadType = "advert_bad_type",
    /// Shorter than its header, or than its count of addresses says, or than the IP header says.
    AdvertTruncated = "advert_truncated",
    /// Longer than its count of addresses says, or than this half can check.
    AdvertBadLength = "advert_bad_length",
    /// Hop limit or TTL other than 255: it has crossed a router.
    AdvertBadHopLimit = "advert_bad_hop_limit",
    /// The checksum fits neither RFC 9568 nor RFC 5798.
    AdvertBadChecksum = "advert_bad_checksum",
    /// It lists no address (RFC 9568 §5.2.5).
    AdvertNoAddress = "advert_no_address",
    /// Its interval is 0.
    AdvertBadInterval = "advert_bad_interval",
    /// Its source is multicast or unspecified.
    AdvertBadSource = "advert_bad_source",
    /// A fragment of one: adverts are not fragmented.
    AdvertFragment = "advert_fragment",
    /// Of another virtual router.
    AdvertOtherVrid = "advert_other_vrid",
    /// Of the other IP version.
    AdvertOtherFamily = "advert_other_family",
    /// Our own, come back.
    AdvertOwn = "advert_own",
    /// Ours, stamped from the map and sent.
    AdvertSent = "advert_sent",
    /// Ours with a priority above 0 but without a lease: dropped.
    AdvertFenced = "advert_fenced",
    /// Of a router that is no peer, while only peers are heard.
    AdvertStranger = "advert_stranger",
    /// Our lease was ended by a claim that outranks ours: an advert, or a peer's probe in state Up.
    LeaseOutranked = "lease_outranked",
    /// Our lease was found lapsed.
    LeaseLapsed = "lease_lapsed",
    /// To the WireGuard port without a lease: dropped.
    WireguardInFenced = "wireguard_in_fenced",
    /// From the WireGuard port without a lease: dropped.
    WireguardOutFenced = "wireguard_out_fenced",
    /// From the WireGuard port and another address than the VIP: the source was rewritten.
    WireguardPinned = "wireguard_pinned",
    /// From the WireGuard port, in a family without a VIP or not rewritable: dropped.
    WireguardNoVip = "wireguard_no_vip",
    /// A neighbour message about the VIP came in without a lease: dropped.
    NeighbourInFenced = "neighbour_in_fenced",
    /// A neighbour message about the VIP went out without a lease: dropped.
    NeighbourOutFenced = "neighbour_out_fenced",
    /// A later fragment to or from the VIP without a lease: dropped.
    FragmentFenced = "fragment_fenced",
    /// A later fragment: it cannot be told what it belongs to; passed.
    FragmentPassed = "fragment_passed",
    /// A frame of a VLAN: it belongs to another interface; passed.
    VlanPassed = "vlan_passed",
    /// An IP header that is cut short or contradicts itself, or too many extension headers; passed.
    Unparsed = "unparsed",
    /// A probe of a peer was answered with Up.
    ProbeAnsweredUp = "probe_answered_up",
    /// A probe of a peer was answered with AdminDown: no lease.
    ProbeAnsweredAdminDown = "probe_answered_admin_down",
    /// A probe or an answer that is not from a configured peer; passed: it may be for another implementation on this host.
    ProbeBadPeer = "probe_bad_peer",
    /// A probe, or an answer, with a hop limit or TTL other than 255.
    ProbeBadHopLimit = "probe_bad_hop_limit",
    /// A probe to another discriminator than our reflector's.
    ProbeBadDiscriminator = "probe_bad_discriminator",
    /// Not a BFD control packet of S-BFD to an address of our own: cut short, another version, a D bit that its sender
    /// cannot have, a discriminator of 0, authentication; or behind tags or options.
    ProbeMalformed = "probe_malformed",
    /// A probe of ours that says that we serve, without a lease: dropped.
    ProbeFenced = "probe_fenced",
    /// An answer to a probe of ours that is under way; dropped: it is in `ANSWERS`.
    AnswerHeard = "answer_heard",
    /// An answer to no probe of ours that is under way.
    AnswerUnknown = "answer_unknown",
    /// The `EVENTS` ring had no room.
    RingFull = "ring_full",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_indices() {
        for (i, c) in Counter::ALL.iter().enumerate() {
            assert_eq!(i, *c as usize, "{}", c.name());
        }
    }
}
