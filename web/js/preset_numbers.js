// Written by launch.py sync from the presets.
export const NUMBERS = {
 "Lift123_NerfStage1": {
  "quickstart": {
   "iterations": 200,
   "render_size": 64,
   "reference_size": 64,
   "novel_batch": 1,
   "preview_every": 10,
   "rgb_weight": 40.0,
   "mask_weight": 2.0,
   "depth_weight": 0.02,
   "normal_weight": 0.0
  },
  "standard": {
   "iterations": 1250,
   "render_size": 128,
   "reference_size": 192,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 500.0,
   "normal_weight": 0.0
  },
  "paper": {
   "iterations": 5000,
   "render_size": 128,
   "reference_size": 192,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 500.0,
   "normal_weight": 0.0
  },
  "printed": {
   "iterations": 5000,
   "render_size": 128,
   "reference_size": 192,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 500.0,
   "depth_weight": 10.0,
   "normal_weight": 0.0
  },
  "magic123 quickstart": {
   "iterations": 200,
   "render_size": 64,
   "reference_size": 64,
   "novel_batch": 1,
   "preview_every": 10,
   "rgb_weight": 40.0,
   "mask_weight": 2.0,
   "depth_weight": 0.02,
   "normal_weight": 0.0
  },
  "magic123 standard": {
   "iterations": 1250,
   "render_size": 128,
   "reference_size": 192,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 5.0,
   "mask_weight": 0.5,
   "depth_weight": 0.005,
   "normal_weight": 0.0
  },
  "magic123 paper": {
   "iterations": 5000,
   "render_size": 128,
   "reference_size": 192,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 5.0,
   "mask_weight": 0.5,
   "depth_weight": 0.005,
   "normal_weight": 0.0
  },
  "magic123 printed": {
   "iterations": 5000,
   "render_size": 128,
   "reference_size": 192,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 5.0,
   "mask_weight": 0.5,
   "depth_weight": 0.0005,
   "normal_weight": 0.0
  },
  "hifi123 quickstart": {
   "iterations": 200,
   "render_size": 64,
   "reference_size": 64,
   "novel_batch": 1,
   "preview_every": 10,
   "rgb_weight": 40.0,
   "mask_weight": 2.0,
   "depth_weight": 0.02,
   "normal_weight": 0.0
  },
  "hifi123 standard": {
   "iterations": 1000,
   "render_size": 128,
   "reference_size": 128,
   "novel_batch": 2,
   "preview_every": 20,
   "rgb_weight": 500.0,
   "mask_weight": 50.0
  },
  "hifi123 paper": {
   "iterations": 3000,
   "render_size": 128,
   "reference_size": 128,
   "novel_batch": 2,
   "preview_every": 20,
   "rgb_weight": 500.0,
   "mask_weight": 50.0
  }
 },
 "Lift123_DMTetRefine": {
  "quickstart": {
   "iterations": 100,
   "render_size": 128,
   "reference_size": 192,
   "grid": 40,
   "novel_batch": 1,
   "preview_every": 10,
   "rgb_weight": 40.0,
   "mask_weight": 2.0,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.1,
   "smooth_surface": 0.2
  },
  "standard": {
   "iterations": 1250,
   "render_size": 512,
   "reference_size": 512,
   "grid": 48,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 500.0,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 100.0,
   "smooth_surface": 100.0
  },
  "paper": {
   "iterations": 5000,
   "render_size": 1024,
   "reference_size": 1024,
   "grid": 64,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 500.0,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 100.0,
   "smooth_surface": 100.0
  },
  "printed": {
   "iterations": 5000,
   "render_size": 1024,
   "reference_size": 1024,
   "grid": 64,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 500.0,
   "depth_weight": 10.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.0,
   "smooth_surface": 0.0
  },
  "magic123 quickstart": {
   "iterations": 100,
   "render_size": 128,
   "reference_size": 192,
   "grid": 40,
   "novel_batch": 1,
   "preview_every": 10,
   "rgb_weight": 40.0,
   "mask_weight": 2.0,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.1,
   "smooth_surface": 0.2
  },
  "magic123 standard": {
   "iterations": 1250,
   "render_size": 512,
   "reference_size": 512,
   "grid": 48,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 5.0,
   "mask_weight": 0.5,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.1,
   "smooth_surface": 0.1
  },
  "magic123 paper": {
   "iterations": 5000,
   "render_size": 1024,
   "reference_size": 1024,
   "grid": 64,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 5.0,
   "mask_weight": 0.5,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.1,
   "smooth_surface": 0.1
  },
  "magic123 printed": {
   "iterations": 5000,
   "render_size": 1024,
   "reference_size": 1024,
   "grid": 64,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 5.0,
   "mask_weight": 0.5,
   "depth_weight": 0.0005,
   "normal_weight": 0.0,
   "smooth_normals": 0.0,
   "smooth_surface": 0.0
  },
  "hifi123 quickstart": {
   "iterations": 120,
   "render_size": 128,
   "reference_size": 192,
   "grid": 40,
   "novel_batch": 1,
   "preview_every": 10,
   "rgb_weight": 5.0,
   "mask_weight": 0.0,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.0,
   "smooth_surface": 0.0
  },
  "hifi123 standard": {
   "iterations": 500,
   "render_size": 512,
   "reference_size": 512,
   "grid": 48,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 0.0,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.0,
   "smooth_surface": 0.0
  },
  "hifi123 paper": {
   "iterations": 1000,
   "render_size": 1024,
   "reference_size": 1024,
   "grid": 64,
   "novel_batch": 1,
   "preview_every": 20,
   "rgb_weight": 1000.0,
   "mask_weight": 0.0,
   "depth_weight": 0.0,
   "normal_weight": 0.0,
   "smooth_normals": 0.0,
   "smooth_surface": 0.0
  }
 },
 "Lift123_RefineLayers": {
  "stdgen quickstart": {
   "steps": 10
  },
  "stdgen toy": {
   "steps": 80
  },
  "stdgen paper": {
   "steps": 200
  },
  "stdgen printed": {
   "steps": 200
  }
 }
};
export const LONGER = {
 "iterations": {
  "draft": 0.4,
  "normal": 1.0,
  "fine": 2.0
 }
};
export const FOLLOWED = {
 "Lift123_Magic123Settings": {
  "released code": "magic123 paper",
  "paper as printed": "magic123 printed"
 },
 "Lift123_Consistent123Settings": {
  "released code": "paper",
  "paper as printed": "printed"
 }
};
