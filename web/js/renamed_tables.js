// Written by launch.py sync from host/renamed.py.
export const NODES = {
  "Lift123_Canonicalise": "Lift123_Canonicalize",
  "Lift123_LoadCanonicaliser": "Lift123_LoadCanonicalizer"
};
export const CHOICES = {
  "Lift123_RefineLayers": {
    "preset": {
      "quickstart": "stdgen toy",
      "paper": "stdgen paper"
    }
  },
  "Lift123_ProjectColors": {
    "paint": {
      "layers without colours": "layers without colors"
    }
  },
  "Lift123_ExportCharacter": {
    "colors": {
      "vertex colours": "vertex colors"
    }
  },
  "Lift123_RgnvEnhance": {
    "background": {
      "grey": "gray"
    }
  },
  "Lift123_InvertReconstruct": {
    "background": {
      "grey": "gray"
    }
  },
  "Lift123_RgsdPrior": {
    "background": {
      "grey": "gray"
    }
  }
};
