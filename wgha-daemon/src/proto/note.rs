use std::fmt;

/// What has failed without keeping the node from serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Note {
    Advert,
    Map,
    Announce,
    Release,
    Lower,
    HalfHeard,
    Gateway,
    Hearing,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Advert => "an advert could not be sent",
            Self::Map => "a map could not be used",
            Self::Announce => "the VIP could not be announced",
            Self::Release => "the VIP could not be removed",
            Self::Lower => "the WireGuard interface could not be set down",
            Self::HalfHeard => "a way through the segment is broken",
            Self::Gateway => "the VIP may not be reachable",
            Self::Hearing => "this node may be cut off",
        })
    }
}
