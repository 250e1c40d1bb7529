//! Scenarios: end-to-end tests of the real programs, in one test binary. Each file covers one surface, and each test's name
//! is a claim that the test proves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::print_stdout,
    reason = "a scenario fails loudly, is one sequence of steps, and prints its measurements"
)]

mod any_environment;
mod attacks;
mod audit;
mod bad_input;
mod binding;
mod builds;
mod busy;
mod ci_examples;
mod client_authentication;
mod clients_by_ways;
#[cfg(target_os = "linux")]
mod clock_and_disk;
mod completion;
mod configuration_changes;
mod container_examples;
mod container_tokens;
mod corporate_network;
mod corporate_setup;
mod crash_safety;
mod credential_provider;
mod credentials;
mod denial_of_service;
mod denials;
mod device_errors;
mod device_logins;
mod diagnosis;
mod doctor;
mod doctor_fixes;
mod doctor_homes;
mod editor_files;
mod environment_clients;
mod events;
mod failed_reload;
mod first_minutes;
mod first_steps;
mod gateway_doctor;
mod gateway_examples;
mod gateway_identity;
mod gateway_replicas;
mod gateway_tls;
mod grants_in_containers;
mod guarded;
mod guides;
mod helm_chart;
mod host_identity;
mod http_messages;
#[cfg(target_os = "linux")]
mod identities;
mod import;
mod import_formats;
mod java;
mod java_builds_with_a_grant;
mod keychain;
mod leaks;
mod life;
mod logs;
mod metrics;
mod minted_clients;
mod minted_faults;
mod minted_tokens;
mod network;
#[cfg(target_os = "linux")]
mod notifications;
mod old_tokens;
mod operations;
mod overlapping_changes;
mod overview;
mod package_kinds;
mod package_managers;
mod packaging;
mod path_readings;
#[cfg(target_os = "linux")]
mod presence;
mod process_isolation;
mod programs;
mod proxy_password;
mod read_ahead;
mod registry_names;
mod registry_tokens;
mod request_smuggling;
mod restart;
mod retired_tokens;
mod rotation;
mod run;
mod same_user;
mod scopes;
mod service;
mod setup;
mod setup_clients;
mod setup_files;
mod socket_owner;
mod start;
mod store_move;
mod streams;
mod team_file;
mod terminal_output;
mod top;
mod tunnel;
mod unread_answers;
mod until_eof;
mod upstream_faults;
mod vault;
mod without_regauth;
mod writes;
