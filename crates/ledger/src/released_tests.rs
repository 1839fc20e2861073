use super::*;

const WITHHELD: fn(u64) -> Step = |permit| ended(permit, Outcome::Withheld);

const fn ended(permit: u64, outcome: Outcome) -> Step {
    Step::Ended { permit, outcome }
}

const fn opens(unsigned: u64, withheld: u64) -> Step {
    Step::Opens { unsigned: Some(unsigned), withheld: Some(withheld) }
}

/// Takes records, each with its time, and what comes of the last.
fn taken(records: &[(u64, Step)]) -> Result<(), Wrong> {
    let mut released = Released::default();
    for (seq, (time, step)) in (0..).zip(records) {
        released.take(seq, Millis(*time), *step)?;
    }
    released.end()
}

/// A log of one time: what cannot be in one batch is told by what the records are.
fn at_once(steps: &[Step]) -> Vec<(u64, Step)> {
    steps.iter().map(|step| (7, *step)).collect()
}

/// Which counts an opening behind these records may say: it withholds every PERMIT among so many that has not ended.
fn possible(before: &[(u64, Step)]) -> Vec<u64> {
    let size = u64::try_from(before.len()).unwrap();
    assert_eq!(taken(before), Ok(()));
    let is_possible = |unsigned: &u64| {
        let signed = usize::try_from(size - unsigned).unwrap();
        let has_ended = |permit| {
            before.iter().any(|(_, step)| matches!(step, Step::Ended { permit: of, .. } if *of == permit))
        };
        let open: Vec<u64> = (0..)
            .zip(before)
            .skip(signed)
            .filter(|(seq, (_, step))| *step == Step::Permit && !has_ended(*seq))
            .map(|(seq, _)| seq)
            .collect();
        let mut records = before.to_vec();
        records.push((9, opens(*unsigned, u64::try_from(open.len()).unwrap())));
        records.extend(open.into_iter().map(|permit| (9, WITHHELD(permit))));
        match taken(&records) {
            Ok(()) => true,
            Err(wrong) => {
                assert_eq!(wrong.seq, size, "{unsigned}: {wrong:?}");
                false
            }
        }
    };
    (0..=size).filter(is_possible).collect()
}

const BEGUN: [Step; 2] = [Step::Other, opens(1, 0)];

#[test]
fn an_opening_could_say_of_more_than_one_batch_that_it_was_never_released() {
    use Step::{Activates, Closes, ComesIntoForce, Keys, Marks, Other, Permit};
    let (ok, expired, unknown) = (Outcome::Ok, Outcome::Expired, Outcome::Unknown);
    for (steps, expected) in [
        // What is behind the opening before it may be one batch; that opening's own batch is another.
        (&[][..], &[0, 1, 2][..]),
        (&[Permit, Other, Permit], &[0, 1, 2, 3]),
        (&[Keys, Permit], &[0, 1]),
        (&[Keys, Marks, Permit], &[0, 1]),
        // Whoever tells what became of a PERMIT had it.
        (&[Permit, ended(2, ok)], &[0, 1]),
        (&[Permit, ended(2, expired)], &[0, 1]),
        (&[Permit, ended(2, unknown), Other], &[0, 1, 2]),
        (&[Permit, Permit, Other, ended(2, ok)], &[0, 1, 2, 3]),
        (&[Permit, Permit, Other, ended(3, ok)], &[0, 1, 2]),
        // One that was held for witnesses and let go of was signed, too.
        (&[Permit, Other, WITHHELD(2)], &[0, 1, 2]),
        // An activation ends its batch, but for a mark.
        (&[Activates], &[0, 1]),
        (&[Other, Activates], &[0, 1, 2]),
        (&[Other, Activates, Marks], &[0, 1, 2, 3]),
        (&[Activates, Other], &[0, 1]),
        (&[Activates, Marks, Other], &[0, 1]),
        (&[Activates, Closes], &[0, 1]),
        (&[Activates, Marks, Closes], &[0, 1, 2]),
        (&[Activates, Activates], &[0, 1]),
        // A bundle comes into force with the first record of a batch.
        (&[Other, ComesIntoForce], &[0, 1]),
        (&[Activates, ComesIntoForce, Permit], &[0, 1, 2]),
        // A mark is the last of one, but for a closing; a closing is the last in any case.
        (&[Permit, Marks], &[0, 1, 2]),
        (&[Permit, Marks, Permit], &[0, 1]),
        (&[Permit, Marks, Closes], &[0, 1, 2]),
        (&[Marks, Closes], &[0, 1, 2]),
        (&[Permit, Closes], &[0, 1]),
        (&[Closes], &[0, 1]),
        (&[Closes, Other], &[0, 1]),
    ] {
        let records = at_once(&[&BEGUN, steps].concat());
        assert_eq!(possible(&records), expected, "{steps:?}");
    }
}

#[test]
fn what_is_of_another_time_is_of_another_batch() {
    let begun = || at_once(&BEGUN);
    let times = |times: &[u64]| {
        let rest = times.iter().map(|time| (*time, Step::Permit));
        begun().into_iter().chain(rest).collect::<Vec<_>>()
    };
    assert_eq!(possible(&times(&[8, 8, 8])), [0, 1, 2, 3]);
    assert_eq!(possible(&times(&[8, 8, 9])), [0, 1]);
    assert_eq!(possible(&times(&[8, 9, 9])), [0, 1, 2]);
    // A mark of another time than the closing is not of its batch; of an opening's it is not, either.
    let closed = |marked, closed| {
        let end = [(marked, Step::Marks), (closed, Step::Closes)];
        begun().into_iter().chain(end).collect::<Vec<_>>()
    };
    assert_eq!(possible(&closed(8, 8)), [0, 1, 2]);
    assert_eq!(possible(&closed(8, 9)), [0, 1]);
}

#[test]
fn an_opening_that_failed_itself_leaves_what_was_never_released_to_the_next() {
    let records = at_once(&[&BEGUN[..], &[Step::Permit, Step::Other, opens(2, 1), WITHHELD(2)]].concat());
    // Its own batch, or that and what was without a head before it: never less than it said, nor more.
    assert_eq!(possible(&records), [0, 1, 2, 3, 4]);
    let again = [records.clone(), vec![(9, opens(4, 0))]].concat();
    assert_eq!(possible(&again), [0, 1, 2, 3, 4, 5]);
    // Once anything comes behind it, it has not failed.
    let went_on = [records, vec![(7, Step::Permit)]].concat();
    assert_eq!(possible(&went_on), [0, 1]);
}

#[test]
fn after_a_head_was_given_up_nothing_is_without_one() {
    let before = at_once(&[&BEGUN[..], &[Step::Permit, Step::Permit]].concat());
    let gives_up = |signed| Step::GivesUp { signed };
    for (signed, expected) in
        [(None, false), (Some(1), false), (Some(2), true), (Some(4), true), (Some(5), false)]
    {
        let given_up = [before.clone(), vec![(8, gives_up(signed))]].concat();
        assert_eq!(
            taken(&given_up).map_err(|wrong| wrong.seq),
            if expected { Ok(()) } else { Err(4) },
            "{signed:?}"
        );
    }
    let unknown = [ended(2, Outcome::Unknown), ended(3, Outcome::Unknown)].map(|step| (8, step));
    let given_up = [before, vec![(8, gives_up(Some(2)))], unknown.to_vec()].concat();
    assert_eq!(possible(&given_up), [0]);
    // The first opening behind it may fail as any other.
    let opened = [given_up, vec![(9, opens(0, 0))]].concat();
    assert_eq!(possible(&opened), [0, 1]);
}

#[test]
fn an_opening_withholds_each_permit_that_was_never_released_by_it_and_no_other() {
    let before = at_once(&[&BEGUN[..], &[Step::Permit, Step::Other, Step::Permit]].concat());
    let opened = |unsigned, withheld, behind: &[Step]| {
        let behind: Vec<_> = behind.iter().map(|step| (9, *step)).collect();
        taken(&[before.clone(), vec![(9, opens(unsigned, withheld))], behind].concat())
            .map_err(|wrong| wrong.seq)
    };
    let (first, second) = (WITHHELD(2), WITHHELD(4));
    for (unsigned, withheld, behind) in [
        (0, 0, &[][..]),
        (1, 1, &[second]),
        (3, 2, &[first, second]),
        (3, 2, &[second, first, Step::Keys, Step::Marks, Step::Other]),
    ] {
        assert_eq!(opened(unsigned, withheld, behind), Ok(()), "{unsigned} {behind:?}");
    }
    for (unsigned, withheld, behind) in [
        (1, 0, &[second][..]),
        (1, 2, &[second]),
        (1, 1, &[]),
        (1, 1, &[first]),
        (1, 1, &[Step::Other, second]),
        (1, 1, &[Step::Keys, second]),
        (1, 1, &[ended(4, Outcome::Ok)]),
        (1, 1, &[opens(2, 1), second]),
        (1, 1, &[Step::GivesUp { signed: Some(5) }]),
        (3, 2, &[first]),
        (6, 0, &[]),
    ] {
        assert_eq!(opened(unsigned, withheld, behind), Err(5), "{unsigned} {behind:?}");
    }
    // Of another time they are of another batch.
    let late = [before.clone(), vec![(9, opens(1, 1)), (10, second)]].concat();
    assert_eq!(taken(&late).unwrap_err().seq, 5);
    for said in
        [Step::Opens { unsigned: None, withheld: Some(0) }, Step::Opens { unsigned: Some(0), withheld: None }]
    {
        assert_eq!(taken(&[before.clone(), vec![(9, said)]].concat()).unwrap_err().seq, 5);
    }
}
