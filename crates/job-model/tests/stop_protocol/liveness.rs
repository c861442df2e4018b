//! No dead ends: whatever has happened, every posted job can still end.
//!
//! stateright's `eventually` does not see cycles, and the model is full of them (a lease renewed again and again). So
//! the states are walked here once more, and the walk is turned round: from the states in which all is finished,
//! backwards, every state must be met.

use std::collections::HashMap;

use stateright::Model;

use crate::{
    model::Protocol,
    state::{Job, State},
};

/// Walks all states of `protocol`; panics with one from which its jobs cannot end.
pub(crate) fn can_always_end(protocol: &Protocol) {
    let mut numbers: HashMap<State, usize> = HashMap::new();
    let mut states: Vec<State> = Vec::new();
    let mut came_from: Vec<Vec<usize>> = Vec::new();
    let mut number_of = |state: State, states: &mut Vec<State>, came_from: &mut Vec<Vec<usize>>| {
        *numbers.entry(state).or_insert_with_key(|state| {
            states.push(state.clone());
            came_from.push(Vec::new());
            states.len() - 1
        })
    };
    for state in protocol.init_states() {
        number_of(state, &mut states, &mut came_from);
    }
    let mut walked = 0;
    while walked < states.len() {
        for next in protocol.next_states(&states[walked].clone()) {
            let number = number_of(next, &mut states, &mut came_from);
            came_from[number].push(walked);
        }
        walked += 1;
    }

    let all_ended = |state: &State| state.jobs[..protocol.jobs].iter().all(Job::finished);
    let mut can_end = vec![false; states.len()];
    let mut open: Vec<usize> = (0..states.len()).filter(|&number| all_ended(&states[number])).collect();
    while let Some(number) = open.pop() {
        if !can_end[number] {
            can_end[number] = true;
            open.extend(&came_from[number]);
        }
    }
    println!("{} states, each of which can end", states.len());
    if let Some(stuck) = can_end.iter().position(|ends| !ends) {
        panic!("the jobs cannot end from {:#?}", states[stuck]);
    }
}
