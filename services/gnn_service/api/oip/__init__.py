"""The Open Inference Protocol V2 over HTTP: tensors in, tensors out, as JSON or binary (KServe; Triton's extension)."""
