//! Parcels: what is written reads back, what is broken is refused, what is released keeps its octets.

use super::*;

fn parcel() -> Parcel {
    let from: UserId = "user_a".parse().unwrap();
    let to: UserId = "user_b".parse().unwrap();
    let message = StoredMessage {
        room: RoomId(7),
        seq: 3,
        epoch: 1,
        id: MessageId(9),
        from,
        from_name: "A".to_owned(),
        to,
        client_id: Some("c1".parse().unwrap()),
        text: "안녕".to_owned(),
        timestamp: UnixMillis(5),
    };
    let topic = TopicMessage {
        destination: "/topic/x".into(),
        headers: vec![("a".into(), "b".into())],
        body: Bytes::from_static(&[0, 255]),
        network: None,
    };
    let from_a_network = TopicMessage {
        network: Some(Network::of([192, 0, 2, 1].into())),
        ..topic.clone()
    };
    let from_ipv6 = TopicMessage {
        network: Some(Network::of("2001:db8:1:2:3::".parse().unwrap())),
        ..topic.clone()
    };
    Parcel {
        sender: "a".parse().unwrap(),
        incarnation: Incarnation(17),
        flows: vec![("b".parse().unwrap(), 4), ("c".parse().unwrap(), u64::MAX)],
        body: ParcelBody::Envelopes(vec![
            Envelope::Message(message),
            Envelope::Topic(topic),
            Envelope::Topic(from_a_network),
            Envelope::Topic(from_ipv6),
            Envelope::Control(Control::Replace(SessionId(3))),
            Envelope::Control(Control::SignOut(SessionId(4))),
            Envelope::Control(Control::Review("user_a".parse().unwrap())),
            Envelope::Control(Control::ReviewBans),
            Envelope::Control(Control::TraceAsk(TraceAsk {
                question: 5,
                asker: "c".parse().unwrap(),
                message: MessageId(9),
            })),
            Envelope::Control(Control::TraceAnswer {
                question: 5,
                node: "d".parse().unwrap(),
                body: Bytes::from_static(b"{}"),
            }),
        ]),
    }
}

#[test]
fn a_parcel_reads_back_what_it_writes() {
    let heads = Parcel {
        body: ParcelBody::Heads,
        ..parcel()
    };
    for parcel in [parcel(), heads] {
        assert_eq!(Parcel::decode(parcel.encode()), Ok(parcel));
    }
}

#[test]
fn a_parcel_cut_anywhere_is_refused_and_nothing_panics() {
    let whole = parcel().encode();
    for end in 0..whole.len() {
        assert_eq!(
            Parcel::decode(whole.slice(..end)),
            Err(ParcelError::Malformed),
            "{end}"
        );
    }
}

#[test]
fn version_1_keeps_its_octets() {
    let heads = Parcel {
        sender: "a".parse().unwrap(),
        incarnation: Incarnation(17),
        flows: vec![("b".parse().unwrap(), 4)],
        body: ParcelBody::Heads,
    };
    let golden = b"\x01\x01a\0\0\0\0\0\0\0\x11\x02\0\x01\x01b\0\0\0\0\0\0\0\x04";
    assert_eq!(heads.encode().as_ref(), golden);
    assert_eq!(
        Parcel::decode(Bytes::from_static(b"\x02")),
        Err(ParcelError::Version(2))
    );
}

#[test]
fn an_envelope_of_a_later_version_is_left_out() {
    let empty = Parcel {
        body: ParcelBody::Envelopes(Vec::new()),
        ..parcel()
    }
    .encode();
    let mut octets = BytesMut::from(empty.as_ref());
    let count_at = octets.len() - 4;
    octets[count_at..].copy_from_slice(&1_u32.to_be_bytes());
    octets.extend_from_slice(&[99, 0, 0, 0, 2, 1, 2]);
    assert_eq!(
        Parcel::decode(octets.freeze()).unwrap().body,
        ParcelBody::Envelopes(Vec::new())
    );
}
