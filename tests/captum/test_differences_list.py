"""What differs from Captum on purpose is said once, at the class, and stands on the site."""

import importlib.util
from pathlib import Path

import attrfunc.captum.attr as shim_attr


def test_each_class_says_it_itself():
    said = shim_attr.differences()
    assert {"Attribution", "DeepLift", "KernelShap", "LRP", "LayerConductance", "NoiseTunnel"} <= set(said)
    sentences = [one for lines in said.values() for one in lines]
    assert len(sentences) == len(set(sentences))
    for one in sentences:
        assert one[0].isupper() or one[0] == "`"
        assert one.endswith(".")
        assert "  " not in one
    assert "LayerDeepLift" not in said  # which inherits what its base says


def test_the_site_lists_all_of_them():
    path = Path(__file__).parents[2] / "docs" / "_extensions" / "docstrings.py"
    text = path.read_text()
    start, end = text.index("def differences("), text.index("def written_below(")
    space = {"importlib": importlib}
    exec(text[start:end], space)
    page = space["differences"]()
    for name, lines in shim_attr.differences().items():
        for one in lines:
            assert f"* {'All classes' if name == 'Attribution' else f'`{name}`'}: {one}" in page
