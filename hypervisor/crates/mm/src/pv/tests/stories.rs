//! Single operations, told one by one.
