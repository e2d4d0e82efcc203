"""What lidar points add to the labels: sharper sweeps, better boxes, and appearance."""
