//! What an epoll token names.

/// A kind, and for a worker's descriptors its seat and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Call,
    Alarm,
    ForkserverSocket,
    ForkserverDeath,
    Bell { seat: u32, generation: u64 },
    Death { seat: u32, generation: u64 },
    Socket { seat: u32, generation: u64 },
    Stderr { seat: u32, generation: u64 },
}

impl Token {
    pub(super) fn number(self) -> u64 {
        let worker = |kind: u64, seat: u32, generation: u64| {
            kind << 56 | u64::from(seat & 0xffff) << 40 | (generation & 0xff_ffff_ffff)
        };
        match self {
            Self::Call => 0,
            Self::Alarm => 1 << 56,
            Self::ForkserverSocket => 2 << 56,
            Self::ForkserverDeath => 3 << 56,
            Self::Bell { seat, generation } => worker(4, seat, generation),
            Self::Death { seat, generation } => worker(5, seat, generation),
            Self::Socket { seat, generation } => worker(6, seat, generation),
            Self::Stderr { seat, generation } => worker(7, seat, generation),
        }
    }

    pub(super) fn from_number(number: u64) -> Self {
        let seat = (number >> 40) as u32 & 0xffff;
        let generation = number & 0xff_ffff_ffff;
        match number >> 56 {
            0 => Self::Call,
            1 => Self::Alarm,
            2 => Self::ForkserverSocket,
            3 => Self::ForkserverDeath,
            4 => Self::Bell { seat, generation },
            5 => Self::Death { seat, generation },
            6 => Self::Socket { seat, generation },
            _ => Self::Stderr { seat, generation },
        }
    }
}
