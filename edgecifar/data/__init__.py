"""Where images come from: CIFAR-10 records, their sources, the images that ship."""
