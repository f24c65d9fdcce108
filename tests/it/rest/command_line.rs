//! The commands that ask a running node: what they do, what they write, how they end.

use serde_json::json;

use super::program::{beside, run};
use super::{OPEN, Visitor, ask};
use crate::support::api::{Member, PASSWORD};
use crate::support::node::Node;

#[tokio::test]
async fn accounts_are_looked_after_from_the_command_line() {
    let node = Node::start("cli-users", &OPEN).await;
    let input = format!("{PASSWORD}\n");
    let made = beside(
        &node,
        "user create --email kim@example.com --name Kim --json",
        &input,
    )
    .await;
    let user = made.json()["user_id"].as_str().unwrap().to_owned();
    let file = node.data_dir().join("password");
    std::fs::write(&file, &input).unwrap();
    let words = format!(
        "user create --email lee@example.com --name Lee --password-file {}",
        file.display()
    );
    let made = beside(&node, &words, "").await;
    assert!(
        made.code == 0 && made.out.contains("lee@example.com"),
        "{made:?}"
    );
    let taken = beside(&node, &words, "").await;
    assert!(
        taken.code == 1 && taken.err.contains("email_taken"),
        "{taken:?}"
    );
    let silent = beside(&node, "user create --email a@example.com --name A", "").await;
    assert_eq!(silent.code, 2, "{silent:?}");
    let weak = beside(
        &node,
        "user create --email a@example.com --name A",
        "password12\n",
    )
    .await;
    assert!(
        weak.code == 1 && !weak.err.contains("password12"),
        "{weak:?}"
    );

    let listed = beside(&node, "user list --json", "").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let table = beside(&node, "user list", "").await.out;
    assert!(
        table.lines().count() == 3 && table.contains("user_id"),
        "{table}"
    );
    let shown = beside(&node, &format!("user show {user} --json"), "")
        .await
        .json();
    assert_eq!(shown["email"], "kim@example.com");
    let role = beside(&node, &format!("user role {user} admin --json"), "")
        .await
        .json();
    assert_eq!(role["role"], "admin");
    let member = Member::login(node.address(), "kim@example.com", "desk").await;
    let out = beside(&node, &format!("user sign-out {user} --json"), "")
        .await
        .json();
    assert_eq!(out["ended"], 1);
    let bearer = format!("Bearer {}", member.access);
    assert_eq!(ask(&node, "GET /me", &bearer, None).await.status, 401);
    assert_eq!(
        beside(&node, &format!("user erase {user}"), "").await.out,
        "done\n"
    );
    let gone = beside(&node, &format!("user show {user}"), "").await;
    assert!(gone.code == 1 && gone.err.contains("not_found"), "{gone:?}");
}

#[tokio::test]
async fn tokens_and_bans_are_made_and_ended_from_the_command_line() {
    let node = Node::start("cli-bans", &OPEN).await;
    let member = Member::register(node.address(), "kim@example.com").await;
    let user = &member.user_id;
    let minted = beside(&node, &format!("token mint {user} --seconds 60 --json"), "")
        .await
        .json();
    let token = minted["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    ask(&node, "GET /me", &bearer, None).await.expect(200);
    assert_eq!(
        beside(&node, "token revoke", &format!("{token}\n"))
            .await
            .code,
        0
    );
    assert_eq!(ask(&node, "GET /me", &bearer, None).await.status, 401);
    assert_eq!(
        beside(&node, "token revoke", &format!("{token}\n"))
            .await
            .code,
        1
    );

    let his = format!("Bearer {}", member.access);
    let banned = beside(
        &node,
        &format!("user ban {user} --seconds 60 --reason spam --json"),
        "",
    )
    .await;
    assert_eq!(banned.json()["act"], "ban");
    assert_eq!(
        ask(&node, "GET /me", &his, None).await.problem(403),
        "banned"
    );
    let listed = beside(&node, "ban list --json", "").await.json();
    assert_eq!(listed["items"][0]["subject"], user.as_str());
    assert_eq!(
        beside(&node, &format!("user unban {user}"), "").await.code,
        0
    );
    ask(&node, "GET /me", &his, None).await.expect(200);
    let muted = beside(
        &node,
        "ban add --network 2001:db8::1 --mute --reason flood --json",
        "",
    )
    .await;
    assert_eq!(muted.json()["kind"], "network");
    assert_eq!(
        beside(&node, "ban lift --network 2001:db8::1 --mute", "")
            .await
            .code,
        0
    );
    assert_eq!(
        beside(&node, "ban lift --network 2001:db8::1 --mute", "")
            .await
            .code,
        1
    );
    assert_eq!(beside(&node, "ban list", "").await.out, "none\n");
}

#[tokio::test]
async fn ways_of_messages_are_asked_from_the_command_line() {
    let node = Node::start("cli-routes", &OPEN).await;
    let visitor = Visitor::new(&node).await;
    let route = beside(&node, &format!("route {}", visitor.user_id), "")
        .await
        .json();
    assert_eq!(route["user_id"], visitor.user_id.as_str());
    assert_eq!(route["path"]["offline"], true);
    let trace = beside(&node, "trace 01j9zzzzzzzzzzzzzzzzzzzzzz --json", "").await;
    assert!(trace.json().is_object());
    let nobody = beside(&node, "route user_0000000000000", "").await;
    assert!(
        nobody.code == 1 && nobody.err.contains("not_found"),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn each_way_to_fail_has_its_exit_code() {
    let node = Node::start("cli-codes", &OPEN).await;
    let data_dir = node.data_dir().display().to_string();
    let there = ["--config", "/dev/null", "--data-dir", &data_dir];
    let with = |words: &[&'static str], more: &[&str]| {
        let words: Vec<String> = words
            .iter()
            .chain(&there)
            .map(|word| (*word).to_owned())
            .collect();
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        [words, more].concat()
    };
    let ended = async |words: Vec<String>| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        run(&words, "").await
    };
    // Nobody listens at port 1 of loopback.
    let away = ended(with(&["user", "list"], &["--port", "1"])).await;
    assert!(away.code == 3 && away.err.lines().count() == 1, "{away:?}");
    let url = node.url("");
    let by_url = ended(with(&["user", "list", "--json"], &["--url", &url])).await;
    assert_eq!(by_url.json(), json!({"items": []}));
    assert_eq!(
        ended(with(&["user", "list"], &["--url", "chat.example"]))
            .await
            .code,
        2
    );
    assert_eq!(ended(with(&["user", "frob"], &[])).await.code, 2);
    assert_eq!(
        ended(with(&["ban", "add", "--reason", "x"], &[]))
            .await
            .code,
        2
    );
    let other = ["--set", "JWT_SECRET=another secret of thirty-two octets"];
    let by_other = ["--url", &url, other[0], other[1]];
    let forbidden = ended(with(&["user", "list"], &by_other)).await;
    assert_eq!(forbidden.code, 4, "{forbidden:?}");
    let nothing = run(
        &[
            "user",
            "list",
            "--config",
            "/dev/null",
            "--data-dir",
            "/nonexistent/x",
        ],
        "",
    )
    .await;
    assert!(
        nothing.code == 1 && nothing.err.contains("DATA_DIR"),
        "{nothing:?}"
    );
    let policy = run(&["policy", "--json"], "").await.json();
    assert_eq!(
        policy["kinds"],
        json!(["anonymous", "member", "bot", "admin"])
    );
    assert!(
        run(&["policy", "--markdown"], "")
            .await
            .out
            .starts_with("| action | anonymous |")
    );
    assert!(run(&["policy"], "").await.out.contains("send_direct"));
}
