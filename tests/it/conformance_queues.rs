//! The promises of queues, on every engine: in memory, and on a real RabbitMQ.
//!
//! What only a broker outside the process can do to a node is in `faults`. In memory the time is
//! advanced; with RabbitMQ the waits are short.

use stompbox::bus::queue::QueueSettings;

use self::rig::Engine;
use crate::support::rabbitmq::RabbitMq;

mod arguments;
mod faults;
mod limits;
pub(crate) mod rig;
mod settling;
mod shares;

async fn keeps_the_contract(engine: &Engine) {
    settling::messages_come_whole_and_in_order(engine).await;
    settling::consumers_of_several_nodes_compete(engine).await;
    settling::no_more_than_prefetch_is_unsettled(engine).await;
    settling::several_are_settled_at_once_and_none_besides(engine).await;
    settling::many_settle_beside_each_other_and_none_comes_again(engine).await;
    settling::what_is_refused_comes_again_and_counts(engine).await;
    settling::what_is_refused_while_the_queue_is_full_does_not_go_round_for_ever(engine).await;
    settling::dead_letters_say_where_from_and_die_only_once(engine).await;
    settling::what_a_consumer_leaves_goes_to_another(engine).await;
    settling::a_closed_node_gives_everything_back(engine).await;
    arguments::messages_expire_by_their_own_time_and_by_the_queues(engine).await;
    arguments::a_queue_without_use_is_gone(engine).await;
    arguments::other_arguments_are_refused_to_the_one_who_names_them(engine).await;
    arguments::changed_defaults_are_no_other_arguments(engine).await;
    limits::a_full_queue_refuses_and_keeps_what_it_has(engine).await;
    limits::dead_letters_make_room_for_newer_ones(engine).await;
    limits::a_node_has_so_many_queues_and_consumers(engine).await;
    shares::one_address_leaves_queues_to_others_and_all_come_back(engine).await;
    shares::a_queue_of_visitors_goes_in_minutes_unless_others_use_it(engine).await;
    shares::bytes_in_queues_count_to_their_senders_until_they_are_gone(engine).await;
}

#[tokio::test(start_paused = true)]
async fn queues_in_memory_keep_the_contract() {
    keeps_the_contract(&Engine::Memory).await;
    limits::all_queues_together_are_bounded().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_on_rabbitmq_keep_the_contract() {
    let server = RabbitMq::start().await;
    keeps_the_contract(&Engine::Rabbit(server.url())).await;
    faults::garbage_in_a_queue_is_removed(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_on_rabbitmq_survive_cuts_and_a_new_start() {
    let mut server = RabbitMq::start().await;
    faults::a_cut_is_survived_and_old_tags_are_void(&server).await;
    faults::a_black_hole_keeps_nobody_waiting(&server).await;
    faults::a_deleted_queue_is_made_again(&server).await;
    faults::a_consumer_that_settles_nothing_for_too_long_begins_again(&server).await;
    faults::what_is_persistent_survives_a_new_start(&mut server).await;
}

/// Small enough that every limit is near.
fn small() -> QueueSettings {
    QueueSettings {
        queues_max: 3,
        consumers_max: 2,
        length_max: 5,
        bytes_max: 2_000,
        ..QueueSettings::default()
    }
}
