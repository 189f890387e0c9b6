import inspect
from importlib.metadata import version as installed_version

project = "torchrl_mixture"
author = "The torchrl_mixture authors"
copyright = "2026, The torchrl_mixture authors"
version = release = installed_version("torchrl_mixture")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"torchrl_mixture {version}"

autosummary_generate = False
autodoc_member_order = "bysource"  # for a package: the order of __all__
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False  # TorchRL's docstrings stay in TorchRL's documentation
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"


def constructor_signature(app, what, name, obj, options, signature, return_annotation):
    """Show a loss's own arguments; its metaclass hides them behind (*args, **kwargs)."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    found = inspect.signature(obj.__init__)
    parameters = list(found.parameters.values())[1:]
    bare = [p.replace(annotation=p.empty) for p in parameters]
    return str(found.replace(parameters=bare, return_annotation=found.empty)), None


def setup(app):
    app.connect("autodoc-process-signature", constructor_signature)
