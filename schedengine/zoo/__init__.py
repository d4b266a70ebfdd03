"""Models, weights and data that ship, and the doors to torchvision's and to the user's own.

    models      build_model: a name or ``package.module:factory`` -> nn.Module
    weights     safetensors, state dicts and Distiller checkpoints -> a model, and back to a file
    data        load_data: a name, a folder or ``package.module:factory`` -> Data, whose loaders replay any epoch

Nothing is imported to list names, and torchvision is imported only when one of its models or sets is asked for.
"""
