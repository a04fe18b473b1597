//! Direct paging under test: stories about single operations, and random sequences against an executable model.
mod machine;
mod model;
mod properties;
mod stories;
