//! Multi-probe querying (Lv et al. 2007): a query looks not only into its own bucket of a table but also into those it
//! would fall into if one or more of its K codes had come out differently, likeliest first.

/// What another code of a hash function would be and how far the query is from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flip {
    /// Distance to the border, comparable among the functions of a table.
    pub cost: f32,
    pub code: u32,
}

/// Calls `visit` with the `count` cheapest non-empty sets of functions (bit masks), cheapest first; a set costs the sum
/// of its members. There are 2^K − 1 sets; `count` may not exceed that.
pub(super) fn cheapest_sets(flips: &[Flip], count: usize, mut visit: impl FnMut(u64)) {
    let mut order: Vec<usize> = (0..flips.len()).collect();
    order.sort_by(|&a, &b| flips[a].cost.total_cmp(&flips[b].cost));
    // Every set is reached once from {first}, by moving its last member on or by adding the next one; both cost more.
    let mut open = vec![(flips[order[0]].cost, 1_u64 << order[0], 0)];
    for _ in 0..count {
        let cheapest = (0..open.len()).min_by(|&a, &b| open[a].0.total_cmp(&open[b].0)).expect("a set is left");
        let (cost, set, last) = open.swap_remove(cheapest);
        visit(set);
        if let Some(&next) = order.get(last + 1) {
            let added = cost + flips[next].cost;
            open.push((added - flips[order[last]].cost, set ^ 1 << order[last] | 1 << next, last + 1));
            open.push((added, set | 1 << next, last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_come_cheapest_first_and_each_once() {
        let flips: Vec<_> = [4.0, 1.0, 0.5, 8.0].map(|cost| Flip { cost, code: 0 }).to_vec();
        let mut sets = Vec::new();
        cheapest_sets(&flips, 15, |set| sets.push(set));
        let cost = |set: &u64| (0..4).filter(|j| set >> j & 1 == 1).map(|j| flips[j].cost).sum::<f32>();
        assert!(sets.is_sorted_by(|a, b| cost(a) <= cost(b)), "{sets:?}");
        sets.sort_unstable();
        assert_eq!(sets, (1..16).collect::<Vec<_>>());
    }
}
