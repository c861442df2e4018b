//! Which deliveries of one channel are still owed an answer, and the fewest frames to answer with.
//!
//! The broker numbers a channel's deliveries 1, 2, 3 …; one ack with `multiple` speaks for all numbers up to its own.
//! Each frame costs the broker the same (in a quorum queue an entry of its log), and work ends out of order, so: the longest
//! run of ended deliveries from the start is answered by one such ack at once. What ended behind one that is still open
//! waits for the run to reach it, but not for ever: a slow one would leave the prefetch full of ended work.
//! Invariant: a number is answered at most once, and `multiple` names a number not answered before (RabbitMQ closes the
//! channel with 406 otherwise).

use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// Being worked on.
    Open,
    /// Ended; the broker does not know yet.
    Ended,
    /// The broker was told.
    Told,
}

/// One ack to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) number: u64,
    pub(crate) multiple: bool,
}

/// The deliveries of one channel.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Number of the first in `owed`, less one: all up to it were told.
    told_up_to: u64,
    owed: VecDeque<Owed>,
    /// Ended and not told, in the order of their ends.
    waiting: Vec<u64>,
    /// So many of them, the first, had ended at the last [`Ledger::flush_old`].
    old: usize,
}

impl Ledger {
    /// The broker delivered this number.
    pub(crate) fn delivered(&mut self, number: u64) {
        let length = usize::try_from(number.saturating_sub(self.told_up_to)).unwrap_or(usize::MAX);
        // Numbers come one by one; should one be missing it stays open, so nothing speaks for it by accident.
        while self.owed.len() < length {
            self.owed.push_back(Owed::Open);
        }
    }

    /// Its work ended. False when it is not owed any more (or was never delivered).
    pub(crate) fn ended(&mut self, number: u64) -> bool {
        let open = self.owed_mut(number).filter(|owed| **owed == Owed::Open);
        let Some(owed) = open else { return false };
        *owed = Owed::Ended;
        self.waiting.push(number);
        true
    }

    /// It is given back to the broker by other means. False when it is not owed any more.
    pub(crate) fn given_back(&mut self, number: u64) -> bool {
        let open = self.owed_mut(number).filter(|owed| **owed == Owed::Open);
        let Some(owed) = open else { return false };
        *owed = Owed::Told;
        true
    }

    /// The ack for the run from the start, if it has grown.
    pub(crate) fn flush_run(&mut self) -> Option<Ack> {
        let mut up_to = None;
        while let Some(&owed @ (Owed::Ended | Owed::Told)) = self.owed.front() {
            self.owed.pop_front();
            self.told_up_to += 1;
            if owed == Owed::Ended {
                up_to = Some(self.told_up_to);
            }
        }
        let number = up_to?;
        let waits = |number: &u64| *number > self.told_up_to;
        self.old = self.waiting[..self.old].iter().filter(|number| waits(number)).count();
        self.waiting.retain(waits);
        Some(Ack { number, multiple: true })
    }

    /// The acks for the run, and for what waits since the call before this one.
    pub(crate) fn flush_old(&mut self) -> Vec<Ack> {
        let run = self.flush_run();
        let acks = run.into_iter().chain(self.take_waiting(self.old)).collect();
        self.old = self.waiting.len();
        acks
    }

    /// The acks for all that ended.
    pub(crate) fn flush_all(&mut self) -> Vec<Ack> {
        let run = self.flush_run();
        self.old = 0;
        run.into_iter().chain(self.take_waiting(self.waiting.len())).collect()
    }

    fn take_waiting(&mut self, count: usize) -> Vec<Ack> {
        let taken: Vec<u64> = self.waiting.drain(..count).collect();
        for number in &taken {
            if let Some(owed) = self.owed_mut(*number) {
                *owed = Owed::Told;
            }
        }
        taken.into_iter().map(|number| Ack { number, multiple: false }).collect()
    }

    /// How many ended and are not told.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many are still open.
    pub(crate) fn open(&self) -> usize {
        self.owed.iter().filter(|owed| **owed == Owed::Open).count()
    }

    fn owed_mut(&mut self, number: u64) -> Option<&mut Owed> {
        let index = number.checked_sub(self.told_up_to)?.checked_sub(1)?;
        self.owed.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn one(number: u64) -> Ack {
        Ack { number, multiple: false }
    }

    fn up_to(number: u64) -> Ack {
        Ack { number, multiple: true }
    }

    #[test]
    fn a_run_from_the_start_is_one_ack() {
        let mut ledger = Ledger::default();
        (1..=5).for_each(|number| ledger.delivered(number));
        for number in [3, 1, 2, 5] {
            assert!(ledger.ended(number));
        }
        assert_eq!(ledger.flush_run(), Some(up_to(3)));
        assert_eq!((ledger.flush_run(), ledger.waiting()), (None, 1));
        assert!(ledger.ended(4));
        assert_eq!(ledger.flush_run(), Some(up_to(5)));
        assert_eq!((ledger.flush_all(), ledger.waiting(), ledger.open()), (vec![], 0, 0));
    }

    #[test]
    fn what_waits_for_a_slow_one_is_answered_singly_the_second_time() {
        let mut ledger = Ledger::default();
        (1..=9).for_each(|number| ledger.delivered(number));
        for number in [5, 1, 3] {
            ledger.ended(number);
        }
        assert_eq!(ledger.flush_old(), [up_to(1)]);
        ledger.ended(7);
        assert_eq!(ledger.flush_old(), [one(5), one(3)]);
        assert_eq!(ledger.flush_old(), [one(7)]);
        ledger.ended(8);
        assert_eq!(ledger.flush_old(), []);
        for number in [2, 4, 6, 9] {
            ledger.ended(number);
        }
        assert_eq!(ledger.flush_old(), [up_to(9)]);
    }

    #[test]
    fn all_is_all() {
        let mut ledger = Ledger::default();
        (1..=4).for_each(|number| ledger.delivered(number));
        for number in [1, 3, 4] {
            ledger.ended(number);
        }
        assert_eq!(ledger.flush_all(), [up_to(1), one(3), one(4)]);
        assert!(ledger.flush_old().is_empty());
        ledger.ended(2);
        assert_eq!(ledger.flush_old(), [up_to(2)]);
    }

    #[test]
    fn nothing_is_answered_twice() {
        let mut ledger = Ledger::default();
        ledger.delivered(1);
        ledger.delivered(2);
        assert!(ledger.given_back(1) && !ledger.given_back(1) && !ledger.ended(1));
        assert!(ledger.ended(2) && !ledger.ended(2) && !ledger.given_back(2));
        assert_eq!(ledger.flush_run(), Some(up_to(2)));
        assert!(!ledger.ended(1) && !ledger.ended(2) && !ledger.ended(3) && !ledger.ended(0));
    }

    /// What RabbitMQ does with the acks of a channel.
    #[derive(Default)]
    struct Broker {
        unacked: BTreeSet<u64>,
        acked: BTreeSet<u64>,
    }

    impl Broker {
        fn ack(&mut self, ack: Ack) {
            assert!(self.unacked.contains(&ack.number), "406: unknown delivery tag {}", ack.number);
            let spoken_for: Vec<u64> = self
                .unacked
                .iter()
                .copied()
                .filter(|number| *number == ack.number || ack.multiple && *number < ack.number)
                .collect();
            for number in spoken_for {
                self.unacked.remove(&number);
                self.acked.insert(number);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Deliver,
        End(u64),
        GiveBack(u64),
        FlushRun,
        FlushOld,
        FlushAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Deliver),
            4 => (0u64..40).prop_map(Step::End),
            1 => (0u64..40).prop_map(Step::GiveBack),
            2 => Just(Step::FlushRun),
            2 => Just(Step::FlushOld),
            1 => Just(Step::FlushAll),
        ]
    }

    proptest! {
        #[test]
        fn the_broker_hears_of_exactly_what_ended(steps in prop::collection::vec(step(), 0..200)) {
            let (mut ledger, mut broker, mut ended, mut last) = (Ledger::default(), Broker::default(), BTreeSet::new(), 0);
            for step in steps.into_iter().chain([Step::FlushAll]) {
                match step {
                    Step::Deliver => {
                        last += 1;
                        broker.unacked.insert(last);
                        ledger.delivered(last);
                    }
                    Step::End(number) => {
                        if ledger.ended(number) {
                            ended.insert(number);
                        }
                    }
                    Step::GiveBack(number) => {
                        if ledger.given_back(number) {
                            prop_assert!(broker.unacked.remove(&number));
                        }
                    }
                    Step::FlushRun => ledger.flush_run().into_iter().for_each(|ack| broker.ack(ack)),
                    Step::FlushOld => ledger.flush_old().into_iter().for_each(|ack| broker.ack(ack)),
                    Step::FlushAll => ledger.flush_all().into_iter().for_each(|ack| broker.ack(ack)),
                }
                prop_assert_eq!(broker.acked.len() + ledger.waiting(), ended.len());
            }
            prop_assert_eq!(broker.acked, ended);
            prop_assert_eq!(broker.unacked.len(), ledger.open());
        }
    }
}
