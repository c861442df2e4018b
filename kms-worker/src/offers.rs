//! The deliveries this worker holds: offers of tasks that it may run once it has a Go.
//!
//! Problem: RabbitMQ delivers a task twice, late, or again after a lost channel, and a delivery must be acknowledged
//! only when its task is final, while its channel lives. Invariant: a task is held at most once; a delivery of a dead
//! channel is never acknowledged and, unless its task runs, no longer held.

use std::collections::{HashMap, VecDeque};

use job_model::{JobId, TaskRef};

/// A delivery's place: its channel, and its number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Which channel; grows.
    pub channel: u64,
    /// AMQP's delivery tag.
    pub number: u64,
}

/// The deliveries held.
#[derive(Debug, Default)]
pub struct Offers {
    held: HashMap<TaskRef, Held>,
    to_start: VecDeque<TaskRef>,
    to_acknowledge: Vec<Tag>,
}

#[derive(Debug)]
struct Held {
    /// `None` when its channel has died.
    tag: Option<Tag>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be asked for with a Start.
    Waiting,
    /// Asked for in this session.
    Asked,
    /// A Go of it is open.
    Going,
}

impl Offers {
    /// A delivery came. `stopped`: its job was aborted, so it will never start here.
    pub fn delivered(&mut self, task: TaskRef, tag: Tag, stopped: bool) {
        if let Some(held) = self.held.get_mut(&task) {
            match held.tag {
                Some(_) => self.to_acknowledge.push(tag),
                None => held.tag = Some(tag),
            }
        } else if stopped {
            self.to_acknowledge.push(tag);
        } else {
            self.held.insert(task, Held { tag: Some(tag), phase: Phase::Waiting });
            self.to_start.push_back(task);
        }
    }

    /// All channels up to this one have died: their deliveries come back to somebody.
    pub fn channel_lost(&mut self, channel: u64) {
        let is_dead = |tag: &Tag| tag.channel <= channel;
        self.to_acknowledge.retain(|tag| !is_dead(tag));
        self.held.retain(|_, held| {
            if held.tag.as_ref().is_none_or(is_dead) {
                held.tag = None;
                held.phase == Phase::Going
            } else {
                true
            }
        });
    }

    /// A Go came for the task.
    pub fn going(&mut self, task: TaskRef) {
        if let Some(held) = self.held.get_mut(&task) {
            held.phase = Phase::Going;
        }
    }

    /// A report of the task was acknowledged. If it is not final the leader remembers that the task waits here.
    pub fn reported(&mut self, task: TaskRef, is_final: bool, stopped: bool) {
        if is_final || stopped {
            self.settle(task);
        } else if let Some(held) = self.held.get_mut(&task) {
            held.phase = Phase::Asked;
            if held.tag.is_none() {
                self.held.remove(&task);
            }
        }
    }

    /// The task is final, or its job is aborted: acknowledge and forget.
    pub fn settle(&mut self, task: TaskRef) {
        if let Some(held) = self.held.remove(&task) {
            self.to_acknowledge.extend(held.tag);
        }
    }

    /// The job was aborted: what of it has no open Go never starts.
    pub fn stop(&mut self, job: JobId) {
        let unstarted = self.held.iter().filter(|(task, held)| task.job == job && held.phase != Phase::Going);
        let unstarted: Vec<TaskRef> = unstarted.map(|(task, _)| *task).collect();
        for task in unstarted {
            self.settle(task);
        }
    }

    /// A new session knows of no Start: ask again for all that has no open Go. `void`: their Gos were taken back.
    pub fn new_session(&mut self, void: &[TaskRef]) {
        for task in void {
            if let Some(held) = self.held.get_mut(task) {
                held.phase = Phase::Waiting;
            }
        }
        self.held.retain(|_, held| held.tag.is_some() || held.phase == Phase::Going);
        self.to_start.clear();
        for (task, held) in &mut self.held {
            if held.phase != Phase::Going {
                held.phase = Phase::Waiting;
                self.to_start.push_back(*task);
            }
        }
    }

    /// Takes up to `most` tasks to ask for.
    pub fn take_starts(&mut self, most: usize) -> Vec<TaskRef> {
        let mut starts = Vec::new();
        while starts.len() < most
            && let Some(task) = self.to_start.pop_front()
        {
            if let Some(held) = self.held.get_mut(&task)
                && held.phase == Phase::Waiting
            {
                held.phase = Phase::Asked;
                starts.push(task);
            }
        }
        starts
    }

    /// Whether tasks wait to be asked for.
    pub fn has_starts(&self) -> bool {
        !self.to_start.is_empty()
    }

    /// Takes the deliveries to be acknowledged.
    pub fn take_acknowledgements(&mut self) -> Vec<Tag> {
        std::mem::take(&mut self.to_acknowledge)
    }

    /// Lets go of all that has no open Go, to be given back.
    pub fn release(&mut self) -> Vec<Tag> {
        let mut released = Vec::new();
        self.to_start.clear();
        self.held.retain(|_, held| {
            if held.phase != Phase::Going {
                released.extend(held.tag);
            }
            held.phase == Phase::Going
        });
        released
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(seq: u32) -> TaskRef {
        TaskRef { job: JobId::from_uuid(uuid::Uuid::from_u128(1)), seq }
    }

    const fn tag(channel: u64, number: u64) -> Tag {
        Tag { channel, number }
    }

    /// Holds tasks 1 and 2 by channel 1, both asked for; 1 has a Go.
    fn two() -> Offers {
        let mut offers = Offers::default();
        offers.delivered(task(1), tag(1, 1), false);
        offers.delivered(task(2), tag(1, 2), false);
        assert_eq!(offers.take_starts(10), [task(1), task(2)]);
        offers.going(task(1));
        offers
    }

    #[test]
    fn a_delivery_is_acknowledged_when_its_task_is_final() {
        let mut offers = two();
        offers.reported(task(1), true, false);
        offers.settle(task(2));
        assert_eq!(offers.take_acknowledgements(), [tag(1, 1), tag(1, 2)]);
        assert!(offers.is_empty());
        offers.settle(task(2));
        assert!(offers.take_acknowledgements().is_empty());
    }

    #[test]
    fn a_task_that_must_try_again_stays_held() {
        let mut offers = two();
        offers.reported(task(1), false, false);
        assert!(offers.take_acknowledgements().is_empty());
        assert_eq!(offers.len(), 2);
        assert!(!offers.has_starts(), "the leader remembers it");
    }

    #[test]
    fn a_duplicate_of_a_held_task_is_acknowledged() {
        let mut offers = two();
        offers.delivered(task(2), tag(1, 3), false);
        assert_eq!(offers.take_acknowledgements(), [tag(1, 3)]);
        assert_eq!(offers.len(), 2);
    }

    #[test]
    fn a_lost_channel_drops_what_does_not_run() {
        let mut offers = two();
        offers.settle(task(2));
        offers.delivered(task(3), tag(1, 3), false);
        offers.channel_lost(1);
        assert!(offers.take_acknowledgements().is_empty(), "nobody would hear them");
        assert_eq!(offers.len(), 1);
        assert!(offers.take_starts(10).is_empty());
        offers.reported(task(1), true, false);
        assert!(offers.take_acknowledgements().is_empty());
    }

    #[test]
    fn a_running_task_takes_up_its_redelivery() {
        let mut offers = two();
        offers.channel_lost(1);
        offers.delivered(task(1), tag(2, 1), false);
        assert!(offers.take_starts(10).is_empty(), "it has a Go");
        offers.reported(task(1), true, false);
        assert_eq!(offers.take_acknowledgements(), [tag(2, 1)]);
    }

    #[test]
    fn an_abort_acknowledges_what_has_not_started() {
        let mut offers = two();
        offers.stop(task(0).job);
        assert_eq!(offers.take_acknowledgements(), [tag(1, 2)]);
        offers.delivered(task(3), tag(1, 3), true);
        assert_eq!(offers.take_acknowledgements(), [tag(1, 3)]);
        offers.reported(task(1), false, true);
        assert_eq!(offers.take_acknowledgements(), [tag(1, 1)]);
        assert!(offers.is_empty());
    }

    #[test]
    fn a_new_session_asks_again_for_what_has_no_go() {
        let mut offers = two();
        offers.delivered(task(3), tag(1, 3), false);
        offers.going(task(3));
        offers.new_session(&[task(3)]);
        let mut starts = offers.take_starts(10);
        starts.sort();
        assert_eq!(starts, [task(2), task(3)]);
    }

    #[test]
    fn whoever_leaves_gives_back_what_does_not_run() {
        let mut offers = two();
        assert_eq!(offers.release(), [tag(1, 2)]);
        offers.reported(task(1), true, false);
        assert_eq!(offers.take_acknowledgements(), [tag(1, 1)]);
    }

    #[test]
    fn starts_are_taken_in_bounded_batches() {
        let mut offers = Offers::default();
        for seq in 0..5 {
            offers.delivered(task(seq), tag(1, seq.into()), false);
        }
        assert_eq!(offers.take_starts(3).len(), 3);
        assert!(offers.has_starts());
        assert_eq!(offers.take_starts(3).len(), 2);
        assert!(!offers.has_starts());
    }
}
