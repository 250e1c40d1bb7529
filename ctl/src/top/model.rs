//! Everything that is on the screen: samples, tab, selection, order, filter. No I/O and no clock: time is an argument.

use std::cmp::Ordering;

use regauth_shared::event::{Event, Workload};
use regauth_shared::request::TrafficOf;
use regauth_shared::response::{RegistryView, Status};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use super::rows::{self, ClientRow, RegistryRow, Span};
use super::sample::Sample;
use super::window::Window;

/// State of the view.
#[derive(Debug, Default)]
pub(super) struct Model {
    window: Window,
    registries: Vec<RegistryView>,
    /// State of the daemon, as last answered.
    pub(super) status: Option<Status>,
    /// Requests in the detail pane, newest first.
    pub(super) latest: Vec<Event>,
    /// Connection to the daemon.
    pub(super) connection: Connection,
    /// Table on the screen.
    pub(super) tab: Tab,
    /// Durations that percentiles cover.
    pub(super) span: Span,
    /// Filter and its editor.
    pub(super) filter: Filter,
    /// True while new samples are ignored.
    pub(super) is_paused: bool,
    /// True while the help is shown.
    pub(super) shows_help: bool,
    /// Requests scrolled past in the detail pane; `None` while a table is shown.
    pub(super) detail: Option<usize>,
    selected_registry: Option<RegistryName>,
    selected_client: Option<u64>,
    registry_order: OrderState,
    client_order: OrderState,
}

/// Connection to the daemon.
#[derive(Debug, Default)]
pub(super) enum Connection {
    /// No answer yet.
    #[default]
    Opening,
    /// The last sample succeeded.
    Up,
    /// No daemon runs, or none that answers.
    Waiting,
    /// The daemon answers with an error, which the person has to resolve.
    Failing(ErrorBody),
}

/// Table on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    /// Registries.
    #[default]
    Registries,
    /// Clients.
    Clients,
}

/// Filter of both tables.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Text that a row must contain, in any case of letters.
    pub(super) text: String,
    /// True while the person types.
    pub(super) is_edited: bool,
}

impl Filter {
    fn matches<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        let wanted = self.text.to_lowercase();
        texts.into_iter().any(|text| text.to_lowercase().contains(&wanted))
    }
}

/// Order of a table's rows.
pub(super) struct Order<R> {
    /// Name, as the footer shows it.
    pub(super) name: &'static str,
    compare: fn(&R, &R) -> Ordering,
}

#[derive(Debug, Default)]
struct OrderState {
    index: usize,
    is_reversed: bool,
}

impl OrderState {
    fn of<'a, R>(&self, orders: &'a [Order<R>]) -> Option<&'a Order<R>> {
        orders.get(self.index % orders.len())
    }

    fn sort<R>(&self, rows: &mut [R], orders: &[Order<R>]) {
        if let Some(order) = self.of(orders) {
            rows.sort_by(order.compare);
        }
        if self.is_reversed {
            rows.reverse();
        }
    }
}

const REGISTRY_ORDERS: [Order<RegistryRow>; 6] = [
    Order {
        name: "name",
        compare: |a, b| a.name.cmp(&b.name),
    },
    Order {
        name: "requests/s",
        compare: |a, b| descending(a.requests_per_second, b.requests_per_second),
    },
    Order {
        name: "time",
        compare: |a, b| {
            b.registry_time
                .map(|time| time.p95)
                .cmp(&a.registry_time.map(|time| time.p95))
        },
    },
    Order {
        name: "bytes/s",
        compare: |a, b| descending(a.bytes_down_per_second, b.bytes_down_per_second),
    },
    Order {
        name: "refused",
        compare: |a, b| b.refused.cmp(&a.refused),
    },
    // RFC 3339 in UTC sorts as text. Tokens without an end come last.
    Order {
        name: "expires",
        compare: |a, b| {
            a.expires
                .is_none()
                .cmp(&b.expires.is_none())
                .then(a.expires.cmp(&b.expires))
        },
    },
];

const CLIENT_ORDERS: [Order<ClientRow>; 5] = [
    Order {
        name: "last seen",
        compare: |a, b| b.last_seen.cmp(&a.last_seen),
    },
    Order {
        name: "requests/s",
        compare: |a, b| descending(a.requests_per_second, b.requests_per_second),
    },
    Order {
        name: "requests",
        compare: |a, b| b.requests.cmp(&a.requests),
    },
    Order {
        name: "bytes",
        compare: |a, b| (b.bytes_up + b.bytes_down).cmp(&(a.bytes_up + a.bytes_down)),
    },
    Order {
        name: "program",
        compare: |a, b| {
            a.client
                .program
                .cmp(&b.client.program)
                .then(a.client.pid.cmp(&b.client.pid))
        },
    },
];

fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    b.unwrap_or_default().total_cmp(&a.unwrap_or_default())
}

/// Result of one poll.
#[derive(Debug)]
pub(super) struct PollResult {
    /// The daemon's answers.
    pub(super) result: Result<Sample, ErrorBody>,
    /// False for an extra poll, which only fills the detail pane: rates come from polls of equal distance.
    pub(super) is_regular: bool,
}

impl Model {
    /// Takes the result of a poll.
    pub(super) fn take(&mut self, poll: PollResult) {
        if self.is_paused {
            return;
        }
        match poll.result {
            Ok(sample) => self.take_sample(sample, poll.is_regular),
            Err(error) if error.kind == ErrorKind::Unreachable => self.connection = Connection::Waiting,
            Err(error) => self.connection = Connection::Failing(error),
        }
    }

    fn take_sample(&mut self, sample: Sample, is_regular: bool) {
        let mut traffic = sample.traffic;
        self.connection = Connection::Up;
        self.latest = std::mem::take(&mut traffic.latest);
        self.status = Some(sample.status);
        self.registries = sample.registries;
        if is_regular {
            self.window.push(traffic);
        }
    }

    /// Requests that the detail pane needs from the daemon.
    pub(super) fn query(&self) -> TrafficOf {
        match (self.detail, self.tab) {
            (None, _) => TrafficOf::default(),
            (Some(_), Tab::Registries) => TrafficOf {
                latest_of_registry: self.selected_registry().map(|row| row.name),
                ..TrafficOf::default()
            },
            (Some(_), Tab::Clients) => TrafficOf {
                latest_of_client: self.selected_client().map(|row| row.id),
                ..TrafficOf::default()
            },
        }
    }

    /// Rows of all registries.
    pub(super) fn all_registry_rows(&self) -> Vec<RegistryRow> {
        rows::registries(&self.window, &self.registries, self.span)
    }

    /// Rows of the registries that pass the filter, in order.
    pub(super) fn registry_rows(&self) -> Vec<RegistryRow> {
        let mut rows = self.all_registry_rows();
        rows.retain(|row| self.filter.matches([row.name.as_str(), &row.kind]));
        self.registry_order.sort(&mut rows, &REGISTRY_ORDERS);
        rows
    }

    /// Rows of the clients that pass the filter, in order.
    pub(super) fn client_rows(&self) -> Vec<ClientRow> {
        let mut rows = rows::clients(&self.window);
        rows.retain(|row| {
            let pid = row.client.pid.map(|pid| pid.to_string()).unwrap_or_default();
            let workload = row.client.workload.as_ref().map(Workload::name);
            let names = [
                row.client.program.as_deref(),
                row.client.grant.as_deref(),
                workload,
                Some(&pid),
            ];
            self.filter.matches(names.into_iter().flatten())
        });
        self.client_order.sort(&mut rows, &CLIENT_ORDERS);
        rows
    }

    /// Row of the selected registry, by default the first.
    pub(super) fn selected_registry(&self) -> Option<RegistryRow> {
        let mut rows = self.registry_rows();
        let index = self.registry_index(&rows);
        (index < rows.len()).then(|| rows.swap_remove(index))
    }

    /// Row of the selected client, by default the first.
    pub(super) fn selected_client(&self) -> Option<ClientRow> {
        let mut rows = self.client_rows();
        let index = self.client_index(&rows);
        (index < rows.len()).then(|| rows.swap_remove(index))
    }

    /// Position of the selected registry among `rows`.
    pub(super) fn registry_index(&self, rows: &[RegistryRow]) -> usize {
        position(rows, |row| Some(&row.name) == self.selected_registry.as_ref())
    }

    /// Position of the selected client among `rows`.
    pub(super) fn client_index(&self, rows: &[ClientRow]) -> usize {
        position(rows, |row| Some(row.id) == self.selected_client)
    }

    /// Moves the selection, or scrolls the detail pane. Stops at both ends.
    pub(super) fn move_by(&mut self, rows: isize) {
        if let Some(offset) = &mut self.detail {
            *offset = offset
                .saturating_add_signed(rows)
                .min(self.latest.len().saturating_sub(1));
            return;
        }
        match self.tab {
            Tab::Registries => {
                let all = self.registry_rows();
                let index = self.registry_index(&all).saturating_add_signed(rows);
                self.selected_registry = last_up_to(&all, index).map(|row| row.name.clone());
            }
            Tab::Clients => {
                let all = self.client_rows();
                let index = self.client_index(&all).saturating_add_signed(rows);
                self.selected_client = last_up_to(&all, index).map(|row| row.id);
            }
        }
    }

    /// Opens the detail pane, if a row is selected. The selection stays on that row from then on.
    pub(super) fn open_detail(&mut self) {
        match self.tab {
            Tab::Registries => self.selected_registry = self.selected_registry().map(|row| row.name),
            Tab::Clients => self.selected_client = self.selected_client().map(|row| row.id),
        }
        let is_selected = match self.tab {
            Tab::Registries => self.selected_registry.is_some(),
            Tab::Clients => self.selected_client.is_some(),
        };
        self.latest.clear();
        self.detail = is_selected.then_some(0);
    }

    /// Shows the other table.
    pub(super) fn switch_tab(&mut self) {
        self.detail = None;
        self.tab = match self.tab {
            Tab::Registries => Tab::Clients,
            Tab::Clients => Tab::Registries,
        };
    }

    /// Orders the rows by the next column.
    pub(super) fn next_order(&mut self) {
        let order = self.order();
        order.index = order.index.wrapping_add(1);
        order.is_reversed = false;
    }

    /// Reverses the order of the rows.
    pub(super) fn reverse_order(&mut self) {
        let order = self.order();
        order.is_reversed = !order.is_reversed;
    }

    /// Name of the table's order.
    pub(super) fn order_name(&self) -> &'static str {
        let name = match self.tab {
            Tab::Registries => self.registry_order.of(&REGISTRY_ORDERS).map(|order| order.name),
            Tab::Clients => self.client_order.of(&CLIENT_ORDERS).map(|order| order.name),
        };
        name.unwrap_or_default()
    }

    /// Number of requests that were refused before their registry was known.
    pub(super) fn refused_elsewhere(&self) -> u64 {
        let elsewhere = self.window.now().into_iter().flat_map(|now| &now.refusals_elsewhere);
        elsewhere.map(|refusal| refusal.count).sum()
    }

    /// Number of events that the counters miss.
    pub(super) fn lost(&self) -> u64 {
        self.window.now().map_or(0, |now| now.lost)
    }

    fn order(&mut self) -> &mut OrderState {
        match self.tab {
            Tab::Registries => &mut self.registry_order,
            Tab::Clients => &mut self.client_order,
        }
    }
}

fn position<R>(rows: &[R], is_selected: impl Fn(&R) -> bool) -> usize {
    rows.iter().position(is_selected).unwrap_or(0)
}

fn last_up_to<R>(rows: &[R], index: usize) -> Option<&R> {
    rows.get(index).or_else(|| rows.last())
}

#[cfg(test)]
mod tests;
