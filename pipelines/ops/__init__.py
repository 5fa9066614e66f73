"""Operations on tensors and meshes that know no paper: kernels, each with a plain-torch twin as its specification."""
