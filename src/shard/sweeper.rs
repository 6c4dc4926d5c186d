//! The timer of the sweep: one shard walks through all homes for what servers that are gone have
//! left (`vfs::Sweep`), on its helper threads, in pieces that give way to everything else.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::connection::Context;
use crate::runtime::{FileHelpers, sleep_until, timeout_at};
use crate::vfs::{Home, LeftoverRule, Sweep, SweepReport, Tree};

/// Sweeps at the start; when what was there at the start has become old enough; and from then on
/// each time [`AGES_BETWEEN`] ages have passed.
pub(super) async fn run(context: Rc<Context>) {
    let age = context.policy().leftover_age;
    for pause in [age + MARGIN].into_iter().chain(std::iter::repeat(age * AGES_BETWEEN)) {
        sweep_all(&context).await;
        sleep_until(clock::now() + pause).await;
    }
}

async fn sweep_all(context: &Context) {
    let started = clock::now();
    let rule = context.leftovers(&context.policy());
    let (mut trees, mut hung) = (Vec::new(), BTreeSet::new());
    let mut total = SweepReport::default();
    for (home, device) in context.homes() {
        if hung.contains(&device) {
            continue;
        }
        let mut report = SweepReport::default();
        let files = context.sweep_files(device);
        let answered = sweep(&files, &home, rule, &mut trees, &mut report).await;
        let path = home.path().display();
        if !answered {
            hung.insert(device);
            tracing::warn!(%path, "not swept for leftovers: the file system does not answer");
        } else if report.incomplete {
            tracing::warn!(%path, "not swept for leftovers as a whole: the tree is too large");
        }
        context.note_leftovers(report.swept, &path);
        total.swept.add(report.swept);
        total.left += report.left;
        total.entries += report.entries;
    }
    context.gauges.leftovers.set(total.left);
    let milliseconds = u64::try_from((clock::now() - started).as_millis()).unwrap_or(u64::MAX);
    let (removed, entries) = (total.swept.files, total.entries);
    tracing::debug!(removed, entries, milliseconds, "swept the homes for leftovers");
}

/// Goes through one home, unless a walk was there already; false when it does not answer.
async fn sweep(
    files: &FileHelpers,
    home: &Arc<Home>,
    rule: LeftoverRule,
    trees: &mut Vec<Tree>,
    report: &mut SweepReport,
) -> bool {
    let home = home.clone();
    let begin = files.run_long(move || Sweep::begin(&home, rule));
    let mut walk = match timeout_at(clock::now() + PATIENCE, begin).await {
        Ok(Ok(Ok(walk))) => walk,
        // A home that is not there is told of at each log-in.
        Ok(Ok(Err(_)) | Err(_)) => return true,
        Err(_) => return false,
    };
    if trees.iter().any(|tree| tree.holds(walk.tree())) {
        return true;
    }
    trees.push(walk.tree().clone());
    loop {
        let step = files.run_long(move || {
            let more = walk.step();
            (walk, more)
        });
        let Ok(answer) = timeout_at(clock::now() + PATIENCE, step).await else { return false };
        let Ok((back, more)) = answer else { return true };
        walk = back;
        *report = walk.report();
        if !more {
            return true;
        }
    }
}

/// Beyond the age, so that a leftover of the start is surely old enough.
const MARGIN: Duration = Duration::from_secs(1);

/// A day between two sweeps, for leftovers an hour old: they come from crashes only.
const AGES_BETWEEN: u32 = 24;

/// How long a piece may take before its device is left out.
const PATIENCE: Duration = Duration::from_secs(60);
