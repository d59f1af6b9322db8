"""Film to a body in the world: pictures, persons, landmarks, camera, and the solved motion with its confidences."""
