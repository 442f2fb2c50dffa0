use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let mut table = Table::new(["DEVICE", "STATUS"]);
    table.row(["thermostat-1", "enabled"]);
    table.row(["ä", ""]);
    assert_eq!(table.to_text(), "DEVICE        STATUS\nthermostat-1  enabled\nä\n");
    assert_eq!(Table::new(["DEVICE", "STATUS"]).to_text(), "DEVICE  STATUS\n");
    assert_eq!(Table::fields().to_text(), "");
}

#[test]
fn a_smallest_width_holds_for_all_columns_but_the_last() {
    let mut table = Table::new(["NAME", "STATUS"]).with_column_width_min(15);
    table.row(["SimulatedTemperatureSensor", "running"]);
    table.row(["edgeHub", "running"]);
    assert_eq!(
        table.to_text(),
        "NAME                        STATUS\n\
         SimulatedTemperatureSensor  running\n\
         edgeHub                     running\n"
    );
    let mut table = Table::new(["NAME", "STATUS"]).with_column_width_min(15);
    table.row(["edgeHub", "running"]);
    assert_eq!(table.to_text(), "NAME           STATUS\nedgeHub        running\n");
}

#[test]
fn text_of_others_cannot_move_the_cursor() {
    assert_eq!(harmless("a\u{1b}[2Jb\nc\u{202e}d"), r"a\u{1b}[2Jb\nc\u{202e}d");
    assert!(matches!(harmless("21 °C — ok"), Cow::Borrowed(_)));
    let mut table = Table::fields();
    table.row(["a\rb", "c"]);
    assert_eq!(table.to_text(), "a\\rb  c\n");
}
