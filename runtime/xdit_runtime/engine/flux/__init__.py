"""FLUX.1's transformer arranged for several GPUs: few, large kernels, and messages that travel while something is computed."""
