//! How far a change reaches: how much of what exists, where, and whether data is among it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{ProposalReport, WorkspaceReport};
use crate::plan::{Change, DataTypes};

/// How far the plans of a proposal reach.
#[derive(Serialize)]
pub(super) struct Blast {
    /// So many resources that exist are changed, replaced, destroyed or forgotten.
    pub(super) touched: usize,
    /// Of so many in the states of the workspaces that are planned.
    pub(super) in_state: usize,
    /// The environments of the workspaces with changes.
    pub(super) environments: Vec<String>,
    /// Addresses of those that are touched and hold data.
    pub(super) data: Vec<String>,
    pub(super) data_more: usize,
}

/// How far the plans reach, with at most `limit` addresses; `None` where nothing exists yet or
/// nothing changes.
pub(super) fn blast(report: &ProposalReport, limit: usize) -> Option<Blast> {
    let (mut touched, mut in_state, mut with_data) = (0, 0, 0);
    let mut environments = BTreeSet::new();
    let mut data = Vec::new();
    let mut changing = false;
    for (workspace, plan) in planned(report) {
        in_state += plan.resources_in_state;
        if plan.has_changes() {
            changing = true;
            environments.extend(workspace.environment.clone());
        }
        for change in plan
            .changes
            .iter()
            .filter(|change| change.action.touches_what_exists())
        {
            touched += 1;
            if holds_data(&report.data_types, change) {
                with_data += 1;
                if data.len() < limit {
                    data.push(change.address.clone());
                }
            }
        }
        for (kind, count) in &plan.left_out.existing {
            touched += count;
            with_data += if report.data_types.hold(kind) {
                *count
            } else {
                0
            };
        }
    }
    (changing && in_state > 0).then(|| Blast {
        touched,
        // What an earlier replacement left over is not counted in the state.
        in_state: in_state.max(touched),
        environments: environments.into_iter().take(limit).collect(),
        data_more: with_data - data.len(),
        data,
    })
}

fn planned(
    report: &ProposalReport,
) -> impl Iterator<Item = (&WorkspaceReport, &crate::plan::Plan)> {
    report
        .workspaces
        .iter()
        .filter_map(|workspace| Some((workspace, workspace.plan()?)))
}

/// Whether a change reaches data.
pub(super) fn holds_data(types: &DataTypes, change: &Change) -> bool {
    change.action.touches_what_exists() && types.hold(&change.kind)
}
