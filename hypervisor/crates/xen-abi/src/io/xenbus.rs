//! States of a front end or back end, in the store as decimal numbers (`io/xenbus.h`).

consts! { STATES: u32 {
    UNKNOWN = 0, "XenbusStateUnknown";
    INITIALISING = 1, "XenbusStateInitialising";
    INIT_WAIT = 2, "XenbusStateInitWait";
    INITIALISED = 3, "XenbusStateInitialised";
    CONNECTED = 4, "XenbusStateConnected";
    CLOSING = 5, "XenbusStateClosing";
    CLOSED = 6, "XenbusStateClosed";
    RECONFIGURING = 7, "XenbusStateReconfiguring";
    RECONFIGURED = 8, "XenbusStateReconfigured";
} }
