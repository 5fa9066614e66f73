"""Run by a Python that has Blender's module (bpy): opens a character, poses it, writes what it found and a picture.

    python open_character.py TASK.json        keys: file, frame, report, picture or None, size
"""

import json
import sys

import bpy
from mathutils import Vector


def world_points(item, graph):
    """The vertices of an object as they stand, in Blender's axes (z up)."""
    shown = item.evaluated_get(graph)
    mesh = shown.to_mesh()
    points = [list(shown.matrix_world @ v.co) for v in mesh.vertices]
    shown.to_mesh_clear()
    return points


def draw(task):
    """A picture from the front right."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 8, "CPU"
    scene.render.resolution_x = scene.render.resolution_y = task["size"]
    scene.render.filepath = task["picture"]
    scene.view_settings.view_transform = "Standard"
    world = bpy.data.worlds.new("w")
    scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.location = Vector((1.6, -2.6, 1.1))
    camera.rotation_euler = (Vector((0, 0, 0.8)) - camera.location).to_track_quat("-Z", "Y").to_euler()
    scene.camera = camera
    bpy.ops.render.render(write_still=True)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        task = json.load(file)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=task["file"])
    armature = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    meshes = [o for o in bpy.data.objects if o.type == "MESH" and o.find_armature() == armature]
    scene = bpy.context.scene
    seconds = task["frame"] / 24
    scene.frame_set(round(seconds * scene.render.fps))
    graph = bpy.context.evaluated_depsgraph_get()
    report = {
        "version": bpy.app.version_string, "bones": [b.name for b in armature.data.bones],
        "actions": [a.name for a in bpy.data.actions], "fps": scene.render.fps, "action": armature.animation_data.action.name,
        "meshes": {o.name: world_points(o, graph) for o in meshes},
        "images": [list(i.size) for i in bpy.data.images if i.size[0]],
        "layers": {o.name: [list(layer.name for layer in o.data.uv_layers), len(o.vertex_groups)] for o in meshes},
    }
    with open(task["report"], "w", encoding="utf-8") as file:
        json.dump(report, file)
    if task["picture"]:
        draw(task)


main()
