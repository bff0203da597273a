//! Record batches (magic 2): header, validation, compression, building. Pure.
