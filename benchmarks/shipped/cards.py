"""What the cards of the shipped models say of data, licence, use and limits."""

from __future__ import annotations

from medseg.model_package import Card

NO_DEVICE = "Not a medical device. "
RESEARCH = "Research and teaching, and a first example of medseg. "
ONE_SOURCE = "Scores are of held-out groups of one data set; expect less elsewhere. "

HIPPOCAMPUS = Card(
    summary="Anterior (head) and posterior (body and tail) hippocampus in MR crops around it.",
    data=(
        "208 T1-weighted MR crops (about 35 x 50 x 35 voxels of 1 mm) with hand-drawn labels, from"
        " the training part of task 04 of the Medical Segmentation Decathlon, recorded at"
        " Vanderbilt University Medical Center from adults with and without a psychotic disorder."
    ),
    intended_use=RESEARCH
    + "The scan must be cropped around one hippocampus, as the training scans are.",
    limits=(
        NO_DEVICE + ONE_SOURCE + "Whole-head scans, other spacings than about 1 mm, other"
        " contrasts, children, lesions and surgery were never seen. The training scans carry no"
        " reliable orientation, so the model was trained mirrored along every axis."
    ),
    licence="CC BY-SA 4.0",
    attribution=(
        "Trained on data of the Medical Segmentation Decathlon (medicaldecathlon.com), CC BY-SA"
        " 4.0: A. L. Simpson et al., A large annotated medical image dataset for the development"
        " and evaluation of segmentation algorithms, arXiv:1902.09063; M. Antonelli et al., The"
        " Medical Segmentation Decathlon, Nature Communications 13, 4128 (2022)."
    ),
    modality="MR",
)

CARDIAC = Card(
    summary="Cavity of the left ventricle in stacks of short-axis cine MR, papillary muscles in.",
    data=(
        "72 stacks (end diastole and end systole) of 36 patients, normal, with hypertrophy, and"
        " with heart failure with and without infarct: Sunnybrook Cardiac Data, one 1.5 T scanner,"
        " 8-bit, about 1.25 mm in plane and 8 mm between slices (nominal)."
    ),
    intended_use=RESEARCH + "The stack must run from the base to the apex and hold nothing else.",
    limits=(
        NO_DEVICE + ONE_SOURCE + "Every slice of the training stacks holds the ventricle: no slice"
        " above the base or below the apex was ever seen, and the model draws a cavity there where"
        " a bright pool of blood lies. Take such slices out of the stack before, or erase them"
        " after. The spacing of the training data is nominal, so do not publish volumes in ml."
        " Known failures: basal slices with the outflow tract, apical slices of a few pixels,"
        " walls thinned by infarct, other vendors' contrast."
    ),
    licence="CC0 1.0",
    attribution=(
        "Trained on the Sunnybrook Cardiac Data, CC0 1.0: P. Radau, Y. Lu, K. Connelly, G. Paul,"
        " A. J. Dick, G. A. Wright, Evaluation Framework for Algorithms Segmenting Short Axis"
        " Cardiac MRI, MIDAS Journal (2009)."
    ),
    modality="MR",
)

FETAL_HEAD = Card(
    summary="Fetal head in 2-D ultrasound, as the filled ellipse on the outer skull.",
    data=(
        "645 ultrasound pictures of all three trimesters (HC18, Radboudumc Nijmegen), reduced to"
        " 320 x 216 pixels of 0.13 to 0.98 mm, with the ellipse that a sonographer drew."
    ),
    intended_use=(
        RESEARCH + "A standard plane of the whole head, with its size in mm (NIfTI, MHA or DICOM);"
        " `medseg.metrics.circumferences_mm` then gives the head circumference."
    ),
    limits=(
        NO_DEVICE + ONE_SOURCE + "A picture without a size in mm, such as PNG, counts as 1 mm a"
        " pixel, which the model never saw. Other planes, twins, and pictures without a head were"
        " never seen: it draws a head into them. A woman may have two pictures in different folds."
        " Known failures: skulls that drop out, small heads of the first trimester, heads that"
        " leave the sector."
    ),
    licence="CC BY 4.0",
    attribution=(
        "HC18, T.L.A. van den Heuvel, D. de Bruijn, C.L. de Korte, B. van Ginneken, Zenodo 1327317,"
        " CC BY 4.0; resized, ellipses filled. Automated measurement of fetal head circumference"
        " using 2D ultrasound images, PLoS ONE 13, e0200412 (2018)."
    ),
    modality="US",
)

CHEST = Card(
    summary="Both lungs, as one label, in frontal chest X-rays.",
    data=(
        "110 frontal films (Montgomery County set), 62 normal and 48 with tuberculosis, reduced to"
        " 384 x 384 pixels; the part of the lungs behind the heart is left out, as it was drawn."
    ),
    intended_use=RESEARCH + "Frontal films of adults, resized to about 384 x 384 pixels.",
    limits=(
        NO_DEVICE + ONE_SOURCE + "One machine and few patients. Films of another size must be"
        " resized before. Lateral films, children, devices and large effusions were hardly or never"
        " seen. Known failures: effusions and scars at the edge of the lung, black bars. The size"
        " in mm is not known, and the two axes may differ."
    ),
    licence=(
        "The set carries no formal licence text: the U.S. National Library of Medicine gives it"
        " away and asks to be named and that the two papers are cited"
    ),
    attribution=(
        "National Library of Medicine, National Institutes of Health, Bethesda, MD, USA. S. Jaeger"
        " et al., Automatic tuberculosis screening using chest radiographs, IEEE TMI 33, 233"
        " (2014); S. Candemir et al., Lung segmentation in chest radiographs using anatomical"
        " atlases with nonrigid registration, IEEE TMI 33, 577 (2014)."
    ),
    modality="DX",
)

BRAIN_TUMOR = Card(
    summary="Glioma, meningioma or pituitary tumour in slices of T1-weighted MR after contrast.",
    data=(
        "694 axial, coronal and sagittal slices (358 glioma, 170 meningioma, 166 pituitary tumour)"
        " of 256 x 256 pixels of 0.98 mm, 8-bit, from two hospitals in China, 2005 to 2010. All of"
        " them hold a tumour; 116 tumour-free slices to train on were made of the untouched halves"
        " of symmetric heads, joined to their mirror images, and as many with the other halves."
    ),
    intended_use=RESEARCH + "Slices, or volumes slice by slice, of about 1 mm in plane.",
    limits=(
        NO_DEVICE + ONE_SOURCE + "No patient without a tumour was seen: what the model draws is no"
        " sign that there is one. Patient numbers were lost, so folds hold apart runs of"
        " neighbouring slices, and a patient at a cut may be on both sides. Other sequences, other"
        " kinds of lesions and scans after surgery were never seen. Known failures: soft borders of"
        " gliomas, small pituitary tumours, bright vessels, choroid plexus and mucosa."
    ),
    licence="CC BY 4.0",
    attribution=(
        "Cheng J. brain tumor dataset. figshare (2017), CC BY 4.0; resized, re-encoded"
        " (doi 10.6084/m9.figshare.1512427). J. Cheng et al., Enhanced performance of brain tumor"
        " classification via tumor region augmentation and partition, PLoS ONE 10, e0140381 (2015)."
    ),
    modality="MR",
)

SKIN = Card(
    summary="A pigmented skin lesion in a dermoscopy photograph.",
    data=(
        "800 photographs of the ISIC 2017 challenge (580 nevi, 161 melanomas, 59 seborrheic"
        " keratoses), reduced to 320 pixels along the longer side."
    ),
    intended_use=RESEARCH + "Dermoscopy of one lesion, resized to 320 pixels on the longer side.",
    limits=(
        NO_DEVICE + ONE_SOURCE + "Says nothing about what a lesion is. Photographs of another size"
        " must be resized before. Every picture has a lesion: it draws one into bare skin, too."
        " Dark skin is rare in the data. Patient numbers are not published, so a patient may be in"
        " two folds. Known failures: hair, rulers, ink, dark corners, lesions that fill the"
        " picture; hand-drawn borders differ between observers."
    ),
    licence="CC0 1.0",
    attribution=(
        "ISIC 2017 challenge, International Skin Imaging Collaboration, CC0. N. C. F. Codella et"
        " al., Skin lesion analysis toward melanoma detection, ISBI (2018)."
    ),
)
