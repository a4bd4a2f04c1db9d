"""What there is to choose from: methods, backbones, tasks, as tables and pages."""
