//! How long anything may take: every bound of the audit, and why it is what it is.
//!
//! `i` is the longest advertisement interval of the schedule, and `lease` the longest lease that its nodes tell each other of. None of this
//! is a measured time: where nothing goes wrong, a rule is kept in much less.

pub const MILLI: u64 = 1_000_000;

/// No frame takes longer, unless the switch is congested.
pub const MAX_DELAY: u64 = 3 * MILLI;
/// No daemon that is awake is scheduled later, unless it is starved.
pub const MAX_LATENCY: u64 = 2 * MILLI;
/// A frame, the daemon that sends it, the one that hears it, and the one that hears what that one answers.
pub const REACH: u64 = MAX_DELAY + 3 * MAX_LATENCY;

/// Two that are elected within this time cannot have heard of each other. A process may be stopped for
/// 10 ms between its look and its decision, and for 10 ms between that and the map.
pub const ESTABLISHED: u64 = REACH + 20 * MILLI;
/// A deadline may be noticed so late and still count (`election::PUNCTUAL`), and a look take so long (`LOOK_PATIENCE`).
const PUNCTUAL: u64 = 10 * MILLI;
/// Who is later than this, or than an interval if that is more, listens as if it had just begun (`election::MIN_PATIENCE`).
const MIN_PATIENCE: u64 = 50 * MILLI;
/// What follows from it takes its time.
const MARGIN: u64 = 10 * MILLI;

/// How long others may wait for a node that had them wait and is gone then: 2 s until it is
/// gone, three adverts of 2 s, Skew_Time, and what a verdict takes.
pub const RELOAD: u64 = 10_200 * MILLI;
/// The lease under which a node hands over, by the interval that it has said: three times 2 s.
pub const HANDED_OVER: u64 = 6_000 * MILLI;
/// Frames that were lost longer ago do not matter to a verdict by probes any more.
pub const MEMORY: u64 = 2_000 * MILLI;
/// Who hears nothing any more has found out by then, even if it had heard little before: 3 s, and the questions.
pub const DEAF: u64 = 6_000 * MILLI;
/// A gateway that has answered so long ago has answered lately: it is asked every second.
pub const LATELY: u64 = 2_000 * MILLI;
/// How long two that have to prove their claims may take to meet over the channel, and to probe each other.
pub const MEET: u64 = 350 * MILLI;
/// Who does not answer is found out by eight probes at most, 100 ms apart, and by a lease of as many.
pub const PROOF: u64 = MEET + 1_600 * MILLI;
/// A tunnel that somebody has set up on a node that does not serve is lowered by then.
pub const STRAY: u64 = 5_100 * MILLI;
/// Nobody waits for longer to be told where the clients are, by its own clock.
pub const UNTOLD: u64 = 5_001 * MILLI;
/// A node that was asked to stop has undone everything by then: a few effects of 40 ms at most.
pub const STOPPING: u64 = 500 * MILLI;

/// Those that depend on the schedule.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    i: u64,
    lease: u64,
}

impl Bounds {
    pub const fn new(i: u64, lease: u64) -> Self {
        Self { i, lease }
    }

    /// From one advert to the next.
    pub const fn interval(self) -> u64 {
        self.i
    }

    /// Two awake nodes that serve and hear each other: until the next advert of one has arrived, and the other yielded.
    pub const fn both(self) -> u64 {
        self.i + REACH
    }

    /// The same, if one stands still: until its lease lapses, which is three adverts long.
    pub const fn both_asleep(self) -> u64 {
        3 * self.i + REACH
    }

    const fn patience(self) -> u64 {
        MARGIN + if self.i > MIN_PATIENCE { self.i } else { MIN_PATIENCE }
    }

    /// Who has heard for so long has heard whoever serves: an advert.
    pub const fn hearing(self) -> u64 {
        self.i + REACH
    }

    /// Active_Down_Interval, which is less than four adverts, and as late as it may be noticed: who stood still for longer has missed every deadline, and what was lost
    /// longer ago does not matter to one.
    pub const fn deadline(self) -> u64 {
        4 * self.i + 2 * PUNCTUAL
    }

    /// How long one listens that has stood still for `paused`, if that was longer than any deadline, before it decides anything (I3): for an advert, and
    /// for three if it was for longer.
    pub const fn listening(self, paused: u64) -> u64 {
        if paused > 4 * self.i + self.patience() {
            3 * self.i
        } else if paused > self.deadline() {
            self.i
        } else {
            0
        }
    }

    /// Until somebody serves: Active_Down_Interval, which is less than four adverts; once more, if the deadline was voided; and a claim of
    /// one. Among five nodes more than one may try in vain.
    pub const fn nobody(self) -> u64 {
        8 * self.i + self.claim() + 150 * MILLI
    }

    /// Until a claim is a service or given up: an interval of the one it is made against, or its lease, and the same for everybody who
    /// turns up in the meantime.
    pub const fn claiming(self) -> u64 {
        6 * self.claim() + 150 * MILLI
    }

    const fn claim(self) -> u64 {
        if self.lease > self.i { self.lease } else { self.i }
    }

    /// Until a node that has lost its lease has noticed: its next advert.
    pub const fn deluded(self) -> u64 {
        2 * self.i + self.patience()
    }
}
