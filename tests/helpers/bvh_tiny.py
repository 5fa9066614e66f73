"""A small BVH file by hand."""

NUMBERS = 6 + 3 * 14  # of a frame; the order: hips, left leg, right leg, spine, left arm ...


def bvh_text(frames, pause=0.1):
    """Z up, facing -Y, Mixamo's names, arms straight out: a small skeleton with root motion."""
    def joint(name, offset, inner, kind="JOINT", channels="3 Zrotation Xrotation Yrotation"):
        return f"{kind} {name}\n{{\nOFFSET {offset}\nCHANNELS {channels}\n{inner}\n}}\n"

    end = "End Site\n{\nOFFSET 0 0 1\n}\n"
    legs = "".join(joint(f"mixamorig:{s}UpLeg", f"{x} 0 -5", joint(f"mixamorig:{s}Leg", "0 0 -40", joint(
        f"mixamorig:{s}Foot", "0 0 -40", end))) for s, x in (("Left", 10), ("Right", -10)))
    arms = "".join(joint(f"mixamorig:{s}Arm", f"{x} 0 20", joint(f"mixamorig:{s}ForeArm", f"{2 * x} 0 0", joint(
        f"mixamorig:{s}Hand", f"{2 * x} 0 0", end))) for s, x in (("Left", 12), ("Right", -12)))
    trunk = joint("mixamorig:Spine", "0 0 10", arms + joint("mixamorig:Head", "0 0 30", end))
    six = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    root = joint("mixamorig:Hips", "0 0 90", legs + trunk, "ROOT", six)
    rows = "\n".join(" ".join(str(v) for v in row) for row in frames)
    return f"HIERARCHY\n{root}MOTION\nFrames: {len(frames)}\nFrame Time: {pause}\n{rows}\n"
