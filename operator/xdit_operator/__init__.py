"""The operator: one XDiTInference in, StatefulSets out."""
