"""Names and shapes of published checkpoints, written out from their tables; nothing here comes from our models."""

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, channels: int) -> Shapes:
    """Of a batch norm."""
    sizes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,))
    return {f"{name}.{part}": shape for part, shape in (sizes | {"num_batches_tracked": ()}).items()}


def mobilenetv2_shapes(prefix: str = "") -> Shapes:
    """Table 2 of the paper (t, c, n) in torchvision's names, without the classifier."""
    shapes = {"features.0.0.weight": (32, 3, 3, 3)} | norm("features.0.1", 32)
    inputs, index = 32, 1
    for t, c, n in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)):
        for _ in range(n):
            block, hidden, last = f"features.{index}.conv", t * inputs, 1
            if t > 1:
                shapes |= {f"{block}.0.0.weight": (hidden, inputs, 1, 1)} | norm(f"{block}.0.1", hidden)
                last = 2
            shapes |= {f"{block}.{last - 1}.0.weight": (hidden, 1, 3, 3)} | norm(f"{block}.{last - 1}.1", hidden)
            shapes |= {f"{block}.{last}.weight": (c, hidden, 1, 1)} | norm(f"{block}.{last + 1}", c)
            inputs, index = c, index + 1
    assert index == 18
    shapes |= {"features.18.0.weight": (1280, 320, 1, 1)} | norm("features.18.1", 1280)
    return {prefix + name: shape for name, shape in shapes.items()}


def synergynet_shapes(*, vertices: int = 53215) -> Shapes:
    """SynergyNet's best.pth.tar: picture to parameters, both point networks, and the 3DMM."""
    shapes = mobilenetv2_shapes("I2P.backbone.")
    for name, size in (("ori", 12), ("shape", 40), ("exp", 10)):
        head = f"I2P.backbone.classifier_{name}.1"
        shapes |= {f"{head}.weight": (size, 1280), f"{head}.bias": (size,)}
    point = [("1", 3, 64), ("2", 64, 64), ("3", 64, 64), ("4", 64, 128), ("5", 128, 1024)]
    forward = [*point, ("6", 2418, 512), ("7", 512, 256), ("8", 256, 128), ("9", 128, 3)]
    reverse = [*point, ("6_1", 1024, 12), ("6_2", 1024, 40), ("6_3", 1024, 10)]
    for module, layers in (("forwardDirection", forward), ("reverseDirection", reverse)):
        for number, inputs, outputs in layers:
            shapes |= {f"{module}.conv{number}.weight": (outputs, inputs, 1), f"{module}.conv{number}.bias": (outputs,)}
            shapes |= norm(f"{module}.bn{number}", outputs)
    for suffix, rows in (("", 3 * vertices), ("_base", 204)):
        shapes |= {f"u{suffix}": (rows, 1), f"w_shp{suffix}": (rows, 40), f"w_exp{suffix}": (rows, 10)}
    return shapes | {"param_mean": (62,), "param_std": (62,)}


def tddfa_shapes(*, half: bool) -> Shapes:
    """3DDFA_V2's mb1 and, half as wide, mb05."""
    of = lambda channels: channels // 2 if half else channels  # noqa: E731
    shapes = {"conv1.weight": (of(32), 3, 3, 3)} | norm("bn1", of(32))
    inputs = 32
    names = ("2_1", "2_2", "3_1", "3_2", "4_1", "4_2", "5_1", "5_2", "5_3", "5_4", "5_5", "5_6", "6")
    for name, outputs in zip(names, (64, 128, 128, 256, 256, *6 * (512,), 1024, 1024), strict=True):
        shapes |= {f"dw{name}.conv_dw.weight": (of(inputs), 1, 3, 3)} | norm(f"dw{name}.bn_dw", of(inputs))
        shapes |= {f"dw{name}.conv_sep.weight": (of(outputs), of(inputs), 1, 1)} | norm(f"dw{name}.bn_sep", of(outputs))
        inputs = outputs
    shapes |= {"fc_param.weight": (62, of(1024)), "fc_param.bias": (62,)}
    return shapes | {"fc_lm.weight": (136, of(1024)), "fc_lm.bias": (136,)}
