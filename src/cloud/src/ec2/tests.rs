//! Answers of EC2 as its reference shows them.

use super::*;

#[test]
fn instances_are_read_from_the_references_answer() {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
        <DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
        <requestId>8f7724cf</requestId><reservationSet><item><reservationId>r-1</reservationId>\
        <groupSet/><instancesSet><item><instanceId>i-1</instanceId><imageId>ami-1</imageId>\
        <instanceState><code>16</code><name>running</name></instanceState>\
        <instanceType>t2.micro</instanceType><launchTime>2026-11-21T10:00:00.000Z</launchTime>\
        <privateIpAddress>192.168.1.88</privateIpAddress><tagSet><item><key>Name</key>\
        <value>a &amp; b</value></item><item><key>empty</key><value/></item></tagSet></item>\
        <item><instanceId>i-2</instanceId><instanceState><name>pending</name></instanceState>\
        <launchTime>2026-11-21T10:00:00Z</launchTime></item></instancesSet></item>\
        <item><instancesSet/></item></reservationSet><nextToken>more</nextToken>\
        </DescribeInstancesResponse>";
    let page: Reservations = quick_xml::de::from_str(text).expect("read");
    let (reservations, next) = page.into_parts();
    assert_eq!(next.as_deref(), Some("more"));
    let instances: Vec<_> = reservations.into_iter().flat_map(|r| r.instances.item).collect();
    assert_eq!(instances.len(), 2);
    assert_eq!(instances[0].tags["Name"], "a & b");
    assert_eq!(instances[0].tags["empty"], "");
    assert_eq!(instances[0].private_ip_address.as_deref(), Some("192.168.1.88"));
    assert_eq!((instances[1].state.as_str(), instances[1].tags.len()), ("pending", 0));
    let none: Reservations =
        quick_xml::de::from_str("<R><reservationSet/></R>").expect("an empty page");
    assert!(none.into_parts().0.is_empty());
}

#[test]
fn a_volume_has_the_serial_of_its_device() {
    let text = "<DescribeVolumesResponse><volumeSet><item><volumeId>vol-0ab</volumeId>\
        <size>8</size><status>in-use</status><attachmentSet><item><instanceId>i-1</instanceId>\
        <device>/dev/sdf</device><status>attached</status></item></attachmentSet></item>\
        </volumeSet></DescribeVolumesResponse>";
    let (volumes, next) = quick_xml::de::from_str::<Volumes>(text).expect("read").into_parts();
    assert_eq!((volumes[0].serial().as_str(), next), ("vol0ab", None));
    assert_eq!(volumes[0].attachments[0].instance_id, "i-1");
}
